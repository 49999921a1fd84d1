"""What a wheel says of itself, without downloading it: METADATA from the store, beside the file, or out of its end.

The file beside the wheel is that of PEP 658; where there is none, the few blocks of the archive that hold it are read.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from builder.frozen import frozen
from builder.plan import Remote, Wheel
from builder.resolve.wheels import PARALLEL, TIMEOUT
from builder.store import Store

if TYPE_CHECKING:
    import requests

_KIND = "wheel metadata"
_BLOCK = 1 << 18
_LARGEST = 1 << 22
"""Bytes of a METADATA that is believed to be one."""
_MOST = 1 << 26
"""Bytes of an archive that are asked for to find it; the directories of the largest wheels have a tenth."""


@frozen
class Metadata:
    """The fields of METADATA (core metadata, PEP 566 and later) that say what else a wheel needs."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    """`Requires-Dist`, as written."""
    requires_python: str = ""


def read_all(
    wheels: Iterable[Wheel],
    *,
    remotes: Iterable[Remote],
    store: Store,
    new_session: Callable[[], requests.Session],
) -> dict[str, Metadata]:
    """By name, what those wheels say of which it can be had; nobody is asked for what the store has or remembers."""
    places = {remote.sha256: remote.urls for remote in remotes}
    wanted = list(wheels)

    def one(wheel: Wheel) -> str | None:
        return _text(wheel, urls=places.get(wheel.sha256, ()), store=store, new_session=new_session)

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        texts = pool.map(one, wanted)
        return {wheel.name: parse(text) for wheel, text in zip(wanted, texts, strict=True) if text is not None}


def parse(text: str) -> Metadata:
    """The fields in the text of a METADATA."""
    head = HeaderParser().parsestr(text)
    return Metadata(
        name=str(head.get("Name", "")),
        version=str(head.get("Version", "")),
        requires=tuple(map(str, head.get_all("Requires-Dist", []))),
        requires_python=str(head.get("Requires-Python", "")),
    )


def unpacked_size(wheel: Wheel, *, store: Store) -> int | None:
    """Bytes that the files of a wheel take, if the store has it."""
    if not store.has_file(wheel.sha256):
        return None
    try:
        with zipfile.ZipFile(store.file_path(wheel.sha256)) as archive:
            return sum(item.file_size for item in archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return None


def _text(
    wheel: Wheel, *, urls: Iterable[str], store: Store, new_session: Callable[[], requests.Session]
) -> str | None:
    known = store.memo(_KIND, wheel.sha256)
    if known is not None:
        return known
    paths = [store.file_path(wheel.sha256)] if store.has_file(wheel.sha256) else []
    paths += [Path(unquote(urlsplit(url).path)) for url in urls if url.startswith("file:")]
    text = None
    for path in paths:
        try:
            with path.open("rb") as file:
                text = _member(file)
        except (OSError, zipfile.BadZipFile):
            continue
        if text is not None:
            break
    if text is None:
        text = _remote(wheel, urls=[url for url in urls if url.startswith("http")], new_session=new_session)
    if text is not None:
        store.remember(_KIND, wheel.sha256, _head(text))
    return text


def _remote(wheel: Wheel, *, urls: Iterable[str], new_session: Callable[[], requests.Session]) -> str | None:
    import requests
    import urllib3

    for url in urls:
        place = urlsplit(url)._replace(fragment="")
        try:
            with new_session() as session:
                beside = place._replace(path=f"{place.path}.metadata").geturl()
                with session.get(beside, timeout=TIMEOUT, stream=True) as answer:
                    text = answer.raw.read(_LARGEST + 1, decode_content=True) if answer.ok else b""
                if text.startswith(b"Metadata-Version:") and len(text) <= _LARGEST:
                    return text.decode("utf-8", errors="replace")
                found = _member(_Ranges(place.geturl(), size=wheel.size, session=session))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, zipfile.BadZipFile):
            continue  # what cannot be had is not known; whoever needs the file itself says why
        if found is not None:
            return found
    return None


def _member(file: io.IOBase | io.BufferedReader) -> str | None:
    with zipfile.ZipFile(file) as archive:
        for item in archive.infolist():
            folder, _, name = item.filename.partition("/")
            if name == "METADATA" and folder.endswith(".dist-info") and item.file_size <= _LARGEST:
                return archive.read(item).decode("utf-8", errors="replace")
    return None


def _head(text: str) -> str:
    """The fields, without the description, which is most of it."""
    return text.partition("\n\n")[0] + "\n"


class _Ranges(io.RawIOBase):
    """A file on a server, of which only what is read is asked for."""

    def __init__(self, url: str, *, size: int, session: requests.Session) -> None:
        self._url = url
        self._size = size
        self._session = session
        self._at = 0
        self._left = _MOST
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if self._at < 0:
            raise OSError("before the beginning")
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        pieces = []
        while self._at < end:
            number = self._at // _BLOCK
            self._fetch(number, last=(end - 1) // _BLOCK)
            piece = self._blocks[number][self._at - number * _BLOCK : end - number * _BLOCK]
            if not piece:
                raise OSError("the server sent less than was asked for")
            pieces.append(piece)
            self._at += len(piece)
        return b"".join(pieces)

    def _fetch(self, number: int, *, last: int) -> None:
        """This block and those after it up to `last` that are not here yet, in one request."""
        if number in self._blocks:
            return
        stop = number
        while stop < last and stop + 1 not in self._blocks:
            stop += 1
        first, end = number * _BLOCK, min((stop + 1) * _BLOCK, self._size)
        self._left -= end - first
        if self._left < 0:
            raise OSError("the archive's own directory is too large")
        headers = {"Range": f"bytes={first}-{end - 1}", "Accept-Encoding": "identity"}
        with self._session.get(self._url, headers=headers, timeout=TIMEOUT, stream=True) as answer:
            if answer.status_code != 206:
                raise OSError("the server sends whole files only")
            data = answer.raw.read(end - first)
        for one in range(number, stop + 1):
            self._blocks[one] = data[(one - number) * _BLOCK : (one - number + 1) * _BLOCK]
