"""Compressed layers as a stream of their content.  Reads what it is handed, in little memory."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.errors import LayerError

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 15  # small: what is left of a chunk is copied at the end of each gzip member
_PLAIN_CHUNK = 1 << 20


def inflated(file: BinaryIO, *, name: str) -> Iterator[bytes]:
    """The decompressed content of a gzip (any number of members), zstd or plain file, told apart by its first bytes.

    `LayerError` naming `name` if it is damaged or ends early.
    """
    start = file.read(4)
    file.seek(-len(start), 1)
    if start.startswith(GZIP):
        yield from _gzip(file, name=name)
    elif start == ZSTD:
        yield from _zstd(file, name=name)
    else:
        while chunk := file.read(_PLAIN_CHUNK):
            yield chunk


def diff_id_of(path: Path) -> str:
    """`sha256:...` of the decompressed content of a layer."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in inflated(file, name=path.name):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _gzip(file: BinaryIO, *, name: str) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=31)
    ended = True
    try:
        while chunk := file.read(_CHUNK):
            while chunk:
                if ended:
                    chunk = chunk.lstrip(b"\0")  # padding is allowed between and after members
                    if not chunk:
                        break
                    member = zlib.decompressobj(wbits=31)
                if data := member.decompress(chunk):
                    yield data
                ended = member.eof
                chunk = member.unused_data
    except zlib.error as problem:
        raise LayerError(f"the layer `{name}` is damaged: {problem}") from problem
    if not ended:
        raise LayerError(f"the layer `{name}` ends in the middle of a gzip member")


def _zstd(file: BinaryIO, *, name: str) -> Iterator[bytes]:
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    ended = True
    try:
        while chunk := file.read(_CHUNK):
            while chunk:
                if ended:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                if data := frame.decompress(chunk):
                    yield data
                ended = frame.eof
                chunk = frame.unused_data
    except zstandard.ZstdError as problem:
        raise LayerError(f"the layer `{name}` is damaged: {problem}") from problem
    if not ended:
        raise LayerError(f"the layer `{name}` ends in the middle of a zstd frame")
