"""Where a blob's bytes are read from while they are sent: a file of the store, or another registry."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from builder.errors import RegistryError, StoreError
from builder.oci import Descriptor

if TYPE_CHECKING:
    from builder.registry.pull import Origin

_PIECE = 1 << 20


class Readable(Protocol):
    """What a blob's bytes are read from."""

    def read(self, count: int, /) -> bytes:
        """At most so many bytes; empty at the end."""

    def close(self) -> None:
        """Release it."""


class Bytes:
    """A small document."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def part(self, start: int, count: int) -> Readable:
        """`count` bytes from `start` on."""
        return io.BytesIO(self._data[start : start + count])


class File:
    """A blob of the store, from `start` on."""

    def __init__(self, path: Path, *, start: int) -> None:
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as problem:
            raise StoreError(
                f"the layer `sha256:{path.name}` is not here, and no registry is known to have it",
                hint="build or pull the image again",
            ) from problem
        self._file.seek(start)

    def read(self, count: int, /) -> bytes:
        """The next bytes."""
        return self._file.read(count) or b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Stream:
    """`count` bytes of a blob as they come from the first of an origin's registries that gives them."""

    def __init__(self, origin: Origin, *, descriptor: Descriptor, start: int, count: int) -> None:
        what = f"the blob `{descriptor.digest}`"
        headers = {"Accept-Encoding": "identity"}
        whole = start == 0 and count == descriptor.size
        if not whole:
            headers["Range"] = f"bytes={start}-{start + count - 1}"
        problem: RegistryError | None = None
        for client in origin.clients:
            url = client.url(f"blobs/{descriptor.digest}")
            self._response = client.steadily("GET", url, what=what, headers=headers, stream=True)
            if self._response.status_code == 206 and not whole:
                return
            if self._response.status_code == 200:
                self._skip(start)  # no ranges there: read on to where we want to be
                return
            problem = client.refused(self._response, what=what)
            self._response.close()
        assert problem is not None
        raise problem

    def _skip(self, count: int) -> None:
        while count and (data := self.read(min(count, _PIECE))):
            count -= len(data)

    def read(self, count: int, /) -> bytes:
        """The next bytes."""
        return bytes(self._response.raw.read(count))

    def close(self) -> None:
        """Drop the connection."""
        self._response.close()
