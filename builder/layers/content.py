"""What a file in a layer holds, without holding it: bytes, or a place in a file on disk.

No I/O here; `builder.layers.reader` reads what these name.  Named tuples, as all that a layer has tens of thousands
of: instances of frozen classes take three times as long to make.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias


class Data(NamedTuple):
    """Bytes in memory: small and generated files."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes in the layer's file."""
        return len(self.data)


class FileSlice(NamedTuple):
    """`size` bytes of the file `path` from `offset`, as they are.

    With `sha256` (hex, of the slice) or `crc32` the bytes are verified while they are packed; with `whole`, that the
    file ends where the slice does.
    """

    path: Path
    size: int
    offset: int = 0
    sha256: str = ""
    crc32: int | None = None
    whole: bool = False


class Deflated(NamedTuple):
    """Raw deflate bytes (RFC 1951) inside the file `path`, which inflate to `size` bytes with CRC-32 `crc32`.

    With `sha256` (hex, of the inflated bytes) that is verified as well while they are packed.
    """

    path: Path
    offset: int
    compressed_size: int
    size: int
    crc32: int
    sha256: str = ""


class Spooled(NamedTuple):
    """`size` bytes from `offset` of an open temporary file without a name: it goes when the last of these does.

    Read with `os.pread(file.fileno(), ...)`, which threads may do at once.
    """

    file: BinaryIO
    offset: int
    size: int


Content: TypeAlias = Data | FileSlice | Deflated | Spooled
