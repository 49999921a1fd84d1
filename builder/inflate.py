"""Compressed layers as streams of their content: gzip of any number of members, zstd, plain.

Told apart by their first bytes and not by what a manifest says.  Reads what it is handed, in little memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from builder.errors import LayerError

CHUNK = 1 << 16
"""Small, because what is left of a chunk is copied at the end of each gzip member."""

PIECE = 1 << 20
GZIP, ZSTD, SKIPPABLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"


def inflated(blob: BinaryIO, *, name: str) -> Iterator[bytes]:
    """The uncompressed pieces of a layer; a `LayerError` that names `name` if it is damaged or ends early."""
    try:
        yield from inflate(blob)
    except ValueError as problem:
        raise LayerError(f"the layer `{name}` is damaged: {problem}") from problem


def diff_id_of(path: Path) -> str:
    """`sha256:...` of the uncompressed content of a layer."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in inflated(file, name=path.name):
            digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def inflate(blob: BinaryIO) -> Iterator[bytes]:
    """The uncompressed pieces of `blob`; `ValueError` where its compression is damaged or ends early."""
    first = blob.read(CHUNK)
    if first.startswith(GZIP):
        return _gunzip(first, blob)
    if first.startswith(ZSTD) or first[1:4] == SKIPPABLE:
        return _unzstd(first, blob)
    return _plain(first, blob)


def _plain(first: bytes, blob: BinaryIO) -> Iterator[bytes]:
    while first:
        yield first
        first = blob.read(CHUNK)


def _gunzip(data: bytes, blob: BinaryIO) -> Iterator[bytes]:
    """Member after member (RFC 1952, 2.2), zero padding at the end allowed."""
    fresh, errors = _gzip_reader()
    while data:
        member = fresh()
        while True:
            try:
                piece = member.decompress(data, PIECE)
            except errors as problem:
                raise ValueError(f"damaged gzip data: {problem}") from problem
            if piece:
                yield piece
            if member.eof:
                break
            data = member.unconsumed_tail or blob.read(CHUNK)
            if not data:
                raise ValueError("gzip data ends early")
        data = member.unused_data or blob.read(CHUNK)
        while data and not data.strip(b"\0"):
            data = blob.read(CHUNK)


def _gzip_reader() -> tuple[Callable[[], Any], type[Exception]]:
    module: Any = zlib
    with contextlib.suppress(ImportError):  # three times as fast where installed
        from isal import isal_zlib

        module = isal_zlib
    return lambda: module.decompressobj(31), module.error


def _unzstd(first: bytes, blob: BinaryIO) -> Iterator[bytes]:
    import zstandard

    class Whole:
        """`blob` with its first bytes put back."""

        def __init__(self) -> None:
            self.first = first

        def read(self, size: int = -1) -> bytes:
            head, self.first = self.first, b""
            return head or blob.read(size)

    reader: Any = zstandard.ZstdDecompressor().stream_reader(Whole(), read_across_frames=True)  # type: ignore[arg-type]
    try:
        while piece := reader.read(PIECE):
            yield piece
    except zstandard.ZstdError as problem:
        raise ValueError(f"damaged zstd data: {problem}") from problem
