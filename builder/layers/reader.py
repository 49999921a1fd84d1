"""Reads what `Content` names, in bounded pieces, and verifies it on the way.  Reads those files and nothing else."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from builder.errors import LayerError
from builder.layers.content import Deflated, FileSlice, Spooled


class _Zlib:
    """`zlib.decompressobj` with the interface of `IgzipDecompressor`, and of the other decompressors in Python."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._stream.decompress(data or self._stream.unconsumed_tail, max_length)
        self.needs_input = not self._stream.unconsumed_tail and len(found) < max_length
        return found

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data


try:  # faster, and safe: inflating and checksums have one right answer
    from isal import igzip_lib, isal_zlib
except ImportError:
    crc32: Callable[[bytes, int], int] = zlib.crc32
    inflate_error: type[Exception] = zlib.error
    _decompressor: Callable[[], Any] = _Zlib
else:
    crc32, inflate_error = isal_zlib.crc32, isal_zlib.error  # type: ignore[assignment]  # it is a class

    def _decompressor() -> Any:
        return igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)


PIECE = 256 << 10
"""Bytes read or inflated at a time: they stay in a core's cache while they are inflated, checked and hashed."""

RAW_PIECE = 64 << 10
"""Deflated bytes read at a time: what one holds seldom inflates to more than a `PIECE`, so that little is left over."""

AHEAD = 64 << 10
"""Bytes that `near` reads."""

OPEN_FILES = 16


class Reader:
    """A few files, kept open while a layer is written.  A context manager."""

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}
        self._latest: tuple[Path | None, int] = (None, -1)
        self._near: tuple[Path | None, int, bytes] = (None, 0, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()
        self._latest = (None, -1)

    def _open(self, path: Path) -> int:
        latest, descriptor = self._latest
        if latest is path:  # quicker than to hash it, and most reads are of the file that was read last
            return descriptor
        if path in self._files:
            self._latest = path, self._files[path]
            return self._files[path]
        if len(self._files) >= OPEN_FILES:
            self._latest = (None, -1)
            os.close(self._files.pop(next(iter(self._files))))
        try:
            self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as problem:
            raise LayerError(f"could not read `{path}`: {problem.strerror}") from problem
        self._latest = path, self._files[path]
        return self._files[path]

    def read(self, path: Path, *, offset: int, size: int) -> bytes:
        """Exactly `size` bytes of the file; a `LayerError` where it ends sooner."""
        return _pread(self._open(path), size=size, offset=offset, name=path)

    def near(self, path: Path, *, offset: int, size: int) -> bytes:
        """As `read`, for a few bytes of which many more lie near by: reads ahead."""
        file, start, data = self._near
        at = offset - start
        if file is not path or at < 0 or at + size > len(data):
            at, data = 0, b""
            if size < AHEAD:
                data = _pread_some(self._open(path), size=AHEAD, offset=offset, name=path)
                self._near = path, offset, data
            if len(data) < size:
                return self.read(path, offset=offset, size=size)
        return data[at : at + size]

    def spooled(self, content: Spooled, *, label: str) -> Iterator[bytes]:
        """The bytes of a place in a temporary file, in pieces."""
        for start in range(0, content.size, PIECE):
            size = min(PIECE, content.size - start)
            yield _pread(content.file.fileno(), size=size, offset=content.offset + start, name=label)

    def slices(self, content: FileSlice, *, label: str) -> Iterator[bytes]:
        """The bytes of a slice in pieces; raises `LayerError` at the end where they are not the promised ones."""
        sha256 = hashlib.sha256() if content.sha256 else None
        crc = 0
        for start in range(0, content.size, PIECE):
            piece = self.read(content.path, offset=content.offset + start, size=min(PIECE, content.size - start))
            if sha256:
                sha256.update(piece)
            if content.crc32 is not None:
                crc = crc32(piece, crc)
            yield piece
        if content.whole and os.fstat(self._open(content.path)).st_size != content.offset + content.size:
            raise _changed(label, content.path)
        if sha256 and sha256.hexdigest() != content.sha256:
            raise _changed(label, content.path)
        if content.crc32 is not None and crc != content.crc32:
            raise LayerError(f"`{label}` in `{content.path.name}` is damaged: its CRC-32 does not match")

    def inflate(self, content: Deflated, *, label: str) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of deflated bytes and what they inflate to (either may be empty), in order.

        Never inflates more than one byte beyond the declared size.  Raises `LayerError`, at the latest at the end,
        where the stream is malformed, ends early or late, or has another size, CRC-32 or sha256 than declared.
        """
        if is_small(content):
            yield self.inflate_small(content, label=label)
            return
        stream = _decompressor()
        sha256 = hashlib.sha256() if content.sha256 else None
        done, crc = 0, 0
        for start in range(0, content.compressed_size, RAW_PIECE):
            length = min(RAW_PIECE, content.compressed_size - start)
            raw = self.read(content.path, offset=content.offset + start, size=length)
            pending = raw
            while True:
                room = min(PIECE, content.size + 1 - done)
                try:
                    data = stream.decompress(pending, room)
                except inflate_error as problem:
                    raise _lies(label, content.path, "its deflate stream is malformed") from problem
                done += len(data)
                if done > content.size:
                    raise _lies(label, content.path, "it inflates to more than its declared size")
                crc = crc32(data, crc)
                if sha256:
                    sha256.update(data)
                yield raw, data
                raw = pending = b""
                if stream.eof or stream.needs_input:
                    break
            if stream.eof and (stream.unused_data or start + length < content.compressed_size):
                raise _lies(label, content.path, "bytes follow the end of its deflate stream")
        found = sha256.hexdigest() if sha256 else ""
        _check(content, label=label, ended=stream.eof, size=done, crc=crc, sha256=found)

    def inflate_small(self, content: Deflated, *, label: str) -> tuple[bytes, bytes]:
        """`inflate` at once, of content that `is_small`: wheels have thousands of such files."""
        size, wanted = content.size, content.sha256
        raw = self.read(content.path, offset=content.offset, size=content.compressed_size)
        stream = _decompressor()
        try:
            data = stream.decompress(raw, size + 1)
        except inflate_error as problem:
            raise _lies(label, content.path, "its deflate stream is malformed") from problem
        if len(data) > size:
            raise _lies(label, content.path, "it inflates to more than its declared size")
        if stream.unused_data:
            raise _lies(label, content.path, "bytes follow the end of its deflate stream")
        crc, found = crc32(data, 0), hashlib.sha256(data).hexdigest() if wanted else ""
        if not stream.eof or len(data) != size or crc != content.crc32 or found != wanted:
            _check(content, label=label, ended=stream.eof, size=len(data), crc=crc, sha256=found)
        return raw, data


def is_small(content: Deflated) -> bool:
    """Whether content is inflated in one piece."""
    return content.compressed_size <= RAW_PIECE and content.size < PIECE


def _check(content: Deflated, *, label: str, ended: bool, size: int, crc: int, sha256: str) -> None:
    if not ended:
        raise _lies(label, content.path, "its deflate stream does not end")
    if size != content.size:
        raise _lies(label, content.path, f"it inflates to {size} bytes, not to the declared {content.size}")
    if crc != content.crc32:
        raise _lies(label, content.path, "its CRC-32 does not match")
    if sha256 != content.sha256:
        raise _lies(label, content.path, "its content is not what RECORD says")


def _pread(descriptor: int, *, size: int, offset: int, name: str | Path) -> bytes:
    data = _pread_some(descriptor, size=size, offset=offset, name=name)
    while len(data) < size:
        more = _pread_some(descriptor, size=size - len(data), offset=offset + len(data), name=name)
        if not more:
            raise LayerError(f"`{name}` is shorter than it should be", hint="it changed, or was not copied completely")
        data += more
    return data


def _pread_some(descriptor: int, *, size: int, offset: int, name: str | Path) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as problem:
        raise LayerError(f"could not read `{name}`: {problem.strerror}") from problem


def _changed(label: str, path: Path) -> LayerError:
    return LayerError(
        f"`{label}` is not the file that was planned: its content or size differs",
        details=f"read from: {path}",
        hint="it changed while the image was built: build again; a log of the build belongs in `.dockerignore`",
    )


def _lies(label: str, path: Path, what: str) -> LayerError:
    return LayerError(f"`{label}` in `{path.name}` is damaged or hostile: {what}")
