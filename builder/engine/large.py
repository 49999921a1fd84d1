"""A server's JSON answer in little memory: long `data:` URLs in it go to files while it comes, as they are."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 1 << 20
LONG = 1 << 20
"""Characters of a `data:` URL from which on it is kept in a file."""

_OPENING = re.compile(rb'(?<!\\)"data:')
_BASE64_PIECE = 4 << 18


@dataclasses.dataclass(frozen=True)
class Large:
    """A long `data:` URL of an answer, in a file: no text, so that nothing takes it for all there is."""

    path: Path

    @property
    def head(self) -> str:
        """What stands before the comma."""
        with self.path.open("rb") as file:
            return file.read(4096).partition(b",")[0].decode("latin-1")

    def whole(self) -> str:
        """The URL itself."""
        return self.path.read_text(encoding="utf-8")

    def content(self) -> Iterator[bytes]:
        """The bytes that the URL stands for, in pieces; `ValueError` if it is not in base64, or damaged."""
        head = self.head
        if not head.startswith("data:") or "base64" not in head.split(";"):
            raise ValueError("it is not in base64")
        with self.path.open("rb") as file:
            file.seek(len(head) + 1)
            while piece := file.read(_BASE64_PIECE):
                try:
                    yield base64.b64decode(piece, validate=True)
                except binascii.Error as problem:
                    raise ValueError(str(problem)) from problem


def read_json(read: Callable[[int], bytes], *, folder: Path) -> Any:
    """The document that `read` gives piece by piece, with a `Large` in the place of each long `data:` URL.

    Their files are in `folder`.  `ValueError` if it is no JSON.
    """
    text, found = _split(read, folder=folder)
    return _put_back(json.loads(text), found) if found else json.loads(text)


def whole(value: Any) -> Any:
    """The value with every `Large` in it as the text that it is."""
    if isinstance(value, Large):
        return value.whole()
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value


def _split(read: Callable[[int], bytes], *, folder: Path) -> tuple[bytes, dict[str, Large]]:
    """The text with a name for each long URL, and the URLs by these names."""
    text, found = bytearray(), dict[str, Large]()
    data = read(PIECE)
    while data:
        match = _OPENING.search(data)
        if match is None:
            # It may begin at the end of what is here; one character more, for what stands before it.
            keep = min(len(data), len(b'\\"data:'))
            more = read(PIECE)
            if not more:
                text += data
                break
            text += data[:-keep]
            data = data[-keep:] + more
            continue
        text += data[: match.start()]
        url, data = bytearray(), data[match.start() + 1 :]
        file: BinaryIO | None = None
        path = folder / f"{len(found)}.url"
        try:
            # In base64 there is neither a quote nor a backslash: a string that has any stays where it is.
            while data and (end := _end(data)) == len(data):
                if file is None and len(url) + end >= LONG:
                    file = path.open("wb")
                    file.write(url)
                    url.clear()
                if file is None:
                    url += data
                else:
                    file.write(data)
                data = read(PIECE)
            end = _end(data)
            closed = data[end : end + 1] == b'"'
            if file is None and closed and len(url) + end >= LONG:
                file = path.open("wb")
                file.write(url)
            if file is not None and closed:
                file.write(data[:end])
                name = f"large {len(found)} {path}"
                found[name] = Large(path)
                text += json.dumps(name).encode()
                data = data[end + 1 :] or read(PIECE)
                continue
        finally:
            if file is not None:
                file.close()
        text += b'"' + (path.read_bytes() if file is not None else url) + data[:end]
        data = data[end:]
    return bytes(text), found


def _end(data: bytes) -> int:
    """How far a string goes on without a quote or a backslash."""
    match = re.search(rb'["\\]', data)
    return len(data) if match is None else match.start()


def _put_back(value: Any, found: dict[str, Large]) -> Any:
    if isinstance(value, str):
        return found.get(value, value)
    if isinstance(value, dict):
        return {name: _put_back(one, found) for name, one in value.items()}
    return [_put_back(one, found) for one in value] if isinstance(value, list) else value
