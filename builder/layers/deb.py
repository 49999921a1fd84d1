"""Debian package files (deb(5)): an ar archive of `debian-binary`, `control.tar` and `data.tar`.

Standard library only.  Content is spooled to a temporary file while it is decompressed, never held in memory.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from builder.errors import LayerError
from builder.frozen import frozen

CHUNK = 1 << 20
_TYPES: dict[bytes, Literal["file", "dir", "symlink", "hardlink", "fifo", "char", "block"]] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}


class Decompressor(Protocol):
    """What turns compressed bytes into plain ones, piece by piece."""

    def decompress(self, data: bytes, /) -> bytes:
        """The plain bytes that `data` gives."""


Decompressors = dict[str, Callable[[], Decompressor]]
"""Suffix of a member's name (`.xz`) to a factory."""

STANDARD: Decompressors = {
    "": lambda: _Plain(),
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".xz": lambda: lzma.LZMADecompressor(),
    ".lzma": lambda: lzma.LZMADecompressor(),
    ".bz2": lambda: bz2.BZ2Decompressor(),
}
"""What the standard library can read.  Debian's own packages use `.xz`; `.zst` must be handed in."""


@frozen
class ControlFile:
    """A file of `control.tar`: the control information itself, a maintainer script, `md5sums` and so on."""

    data: bytes
    mode: int
    mtime: int


@frozen
class Control:
    """The control part of a package: its fields in order, and every file by name."""

    fields: dict[str, str]
    files: dict[str, ControlFile]

    @property
    def package(self) -> str:
        """The package's name."""
        return self.fields["Package"]


@frozen
class Entry:
    """A path of `data.tar`, without a leading slash; the root folder itself is the empty path.

    The content of a file is `size` bytes of the spool from `offset`.
    """

    path: str
    type: Literal["file", "dir", "symlink", "hardlink", "fifo", "char", "block"]
    mode: int
    uid: int
    gid: int
    mtime: int
    linkname: str
    offset: int
    size: int
    major: int = 0
    minor: int = 0


@frozen
class _Section:
    name: str
    offset: int
    size: int


def read_control(path: Path, *, decompressors: Decompressors = STANDARD) -> Control:
    """The control part of the package file `path`.  Raises `LayerError` for what is not a package."""
    with path.open("rb") as file:
        section, make = _section(file, "control.tar", path=path, decompressors=decompressors)
        data = b"".join(_plain(file, section, make, path=path))
    files: dict[str, ControlFile] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as tar:
            for info in tar:
                if info.isreg():
                    content = tar.extractfile(info)
                    assert content is not None
                    name = _clean(info.name, path=path)
                    files[name] = ControlFile(data=content.read(), mode=info.mode & 0o7777, mtime=int(info.mtime))
    except tarfile.TarError as problem:
        raise _damaged(path, problem) from problem
    if "control" not in files:
        raise LayerError(f"`{path.name}` has no control information")
    fields = parse_fields(files["control"].data.decode("utf-8", errors="surrogateescape"))
    for name in ("Package", "Version", "Architecture"):
        if name not in fields:
            raise LayerError(f"the control information of `{path.name}` has no field `{name}`")
    return Control(fields=fields, files=files)


def read_data(path: Path, *, spool: BinaryIO, decompressors: Decompressors = STANDARD) -> Iterator[Entry]:
    """The entries of `data.tar` in order, their content appended to `spool`.

    The whole of it is in the spool when the iterator is exhausted.  Raises `LayerError` for damage and for names that
    lead outside.
    """
    with path.open("rb") as file:
        section, make = _section(file, "data.tar", path=path, decompressors=decompressors)
        base = spool.seek(0, io.SEEK_END)
        tee = _Tee(_plain(file, section, make, path=path), spool)
        try:
            with tarfile.open(fileobj=tee, mode="r|", bufsize=CHUNK, encoding="utf-8") as tar:
                for info in tar:
                    yield _entry(info, base=base, path=path)
                tee.drain()
        except tarfile.TarError as problem:
            raise _damaged(path, problem) from problem


def verify(path: Path, *, sha256: str) -> None:
    """Refuse a file that is not the one that `sha256` (hex) names."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise LayerError(
            f"`{path.name}` is not the package that was locked",
            details=f"expected sha256 {sha256}\ngot      sha256 {digest}",
            hint="the file was damaged or replaced after it was downloaded: delete it and build again",
        )


def parse_fields(text: str) -> dict[str, str]:
    """One paragraph of control information (deb822): names as written; continuation lines keep their indentation."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.lstrip()
    return {name: value.rstrip() for name, value in fields.items()}  # blanks at the end of a first line stay


def _section(
    file: BinaryIO, wanted: str, *, path: Path, decompressors: Decompressors
) -> tuple[_Section, Callable[[], Decompressor]]:
    if file.read(8) != b"!<arch>\n":
        raise LayerError(f"`{path.name}` is not a Debian package")
    for section in _sections(file, path=path):
        if section.name == "debian-binary":
            version = file.read(section.size)
            if not version.startswith(b"2."):
                raise LayerError(f"`{path.name}` is a Debian package of an unknown format")
        stem, dot, suffix = section.name.partition(".tar")
        if stem + dot == wanted:
            if suffix not in decompressors:
                raise LayerError(
                    f"`{path.name}` is compressed as `{suffix[1:]}`, which cannot be read here",
                    hint="Debian's own packages use xz: this one comes from another archive",
                )
            return section, decompressors[suffix]
    raise LayerError(f"`{path.name}` has no `{wanted}`")


def _sections(file: BinaryIO, *, path: Path) -> Iterator[_Section]:
    offset = 8
    while True:
        file.seek(offset)
        header = file.read(60)
        if not header:
            return
        if len(header) < 60 or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise _damaged(path, "the ar header is malformed")
        size = int(header[48:58])
        yield _Section(name=header[:16].decode("latin-1").strip().rstrip("/"), offset=offset + 60, size=size)
        offset += 60 + size + size % 2


def _plain(file: BinaryIO, section: _Section, make: Callable[[], Decompressor], *, path: Path) -> Iterator[bytes]:
    decompressor = make()
    file.seek(section.offset)
    left = section.size
    try:
        while left:
            chunk = file.read(min(left, CHUNK // 8))
            if not chunk:
                raise _damaged(path, "the file ends too early")
            left -= len(chunk)
            if getattr(decompressor, "eof", False):
                continue
            yield decompressor.decompress(chunk)
    except (lzma.LZMAError, zlib.error, OSError, EOFError) as problem:
        raise _damaged(path, problem) from problem
    if not getattr(decompressor, "eof", True):
        raise _damaged(path, "the compressed data ends too early")


def _entry(info: tarfile.TarInfo, *, base: int, path: Path) -> Entry:
    kind = _TYPES.get(info.type)
    if kind is None:
        raise LayerError(f"`{path.name}` holds `{info.name}`, which is of an unknown type")
    return Entry(
        path=_clean(info.name, path=path),
        type=kind,
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        mtime=int(info.mtime),
        linkname=_clean(info.linkname, path=path) if kind == "hardlink" else info.linkname,
        offset=base + info.offset_data,
        size=info.size if kind == "file" else 0,
        major=info.devmajor if kind in ("char", "block") else 0,
        minor=info.devminor if kind in ("char", "block") else 0,
    )


def _clean(name: str, *, path: Path) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise LayerError(f"`{path.name}` holds `{name}`, which leads outside of the system it is installed in")
    return "/".join(parts)


def _damaged(path: Path, problem: object) -> LayerError:
    return LayerError(f"`{path.name}` is damaged: {problem}")


class _Plain:
    """The decompressor of members that are not compressed."""

    def decompress(self, data: bytes, /) -> bytes:
        return data


class _Tee(io.RawIOBase):
    """Reads pieces as one stream and writes all that was read to `spool` as well."""

    def __init__(self, pieces: Iterator[bytes], spool: BinaryIO) -> None:
        self._pieces = pieces
        self._spool = spool
        self._left = b""

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            self._left = next((piece for piece in self._pieces if piece), b"")
            self._spool.write(self._left)
        if size < 0:
            size = len(self._left)
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def drain(self) -> None:
        while self.read():
            pass
        self._spool.flush()
