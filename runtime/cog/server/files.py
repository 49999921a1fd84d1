"""Files on their way in and out: `data:` URLs to files, files to `data:` URLs, a piece at a time.

Standard library and the SDK only.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from typing import Any, Dict, Iterator, List, Union

from cog.files import decode_data_url, get_filename
from cog.server.prediction import FileOutput
from cog.server.validation import InputSchema
from cog.worker.protocol import FileAt

PIECE = 3 << 18
"""Bytes of a file that are in memory at a time; a multiple of 3, so that pieces of base64 can be joined."""

Part = Union[bytes, FileOutput]


def take_files(given: Dict[str, Any], *, schema: InputSchema, folder: str) -> List[Dict[str, Any]]:
    """Write the `data:` URLs of an input to files of `folder`; their places in `given` become None.

    Malformed URLs are left where they are: the worker says what is wrong with them.
    """
    taken: List[Dict[str, Any]] = []
    for at, url in list(schema.files(given)):
        if url[:5].lower() != "data:":
            continue
        os.makedirs(folder, exist_ok=True)
        name = get_filename(url)
        path = os.path.join(folder, f"input-{len(taken)}-{name}")
        try:
            _write_data_url(url, path)
        except ValueError:
            continue
        holder: Any = given
        for key in at[:-1]:
            holder = holder[key]
        holder[at[-1]] = None
        taken.append(vars(FileAt(at, path, name, "")))
    return taken


def _write_data_url(url: str, path: str) -> None:
    comma = url.find(",")
    with open(path, "wb") as file:
        if comma > 0 and url[:comma].lower().endswith(";base64"):
            try:
                for start in range(comma + 1, len(url), 4 << 18):
                    file.write(base64.b64decode(url[start : start + (4 << 18)], validate=True))
            except (binascii.Error, ValueError):  # line breaks or percent signs: not for piecewise reading
                file.seek(0)
                file.truncate()
            else:
                return
        file.write(decode_data_url(url))


def json_parts(value: Any) -> List[Part]:
    """JSON in pieces, with each file to be put in as a `data:` URL standing for itself."""
    mark = f"file-{secrets.token_hex(16)}-"
    files: List[FileOutput] = []

    def stand_in(item: Any) -> str:
        if not isinstance(item, FileOutput):
            raise TypeError(f"not JSON: {type(item).__name__}")
        files.append(item)
        return mark

    body = encode_json(value, default=stand_in)
    if not files:
        return [body]
    parts: List[Part] = []
    for index, piece in enumerate(body.split(mark.encode())):
        if index:
            parts.append(files[index - 1])
        parts.append(piece)
    return parts


def encode_json(value: Any, *, default: Any = None) -> bytes:
    """Compact JSON in UTF-8; ASCII where a string holds half a surrogate pair."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), default=default).encode()


def measure(parts: List[Part]) -> int:
    """The length in bytes of the text that `parts` make."""
    sizes = [os.path.getsize(part.path) for part in parts if isinstance(part, FileOutput)]
    text = sum(len(part) if isinstance(part, bytes) else len(_head(part)) for part in parts)
    return text + sum((size + 2) // 3 * 4 for size in sizes)


def stream(parts: List[Part]) -> Iterator[bytes]:
    """The bytes that `parts` make."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        yield _head(part)
        with open(part.path, "rb") as file:
            for piece in iter(lambda: file.read(PIECE), b""):  # used up within the turn
                yield base64.b64encode(piece)


def _head(file: FileOutput) -> bytes:
    return f"data:{file.type};base64,".encode()
