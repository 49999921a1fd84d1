"""Where a blob's bytes are read from while they are sent: a file of the store, or another registry."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from builder.errors import RegistryError, StoreError
from builder.oci import Descriptor
from builder.registry.session import BLOCK

if TYPE_CHECKING:
    from builder.registry.client import Client
    from builder.registry.pull import Origin
    from builder.registry.upload import Blob

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
    """`count` bytes of a blob as they come from the first of the origins' registries that gives them."""

    def __init__(self, *origins: Origin, descriptor: Descriptor, start: int, count: int) -> None:
        what = f"the blob `{descriptor.digest}`"
        headers = {"Accept-Encoding": "identity"}
        whole = start == 0 and count == descriptor.size
        if not whole:
            headers["Range"] = f"bytes={start}-{start + count - 1}"
        failed: list[tuple[Origin, Client, RegistryError]] = []
        for origin, client in [(one, each) for one in origins for each in one.clients]:
            try:
                url = client.url(f"blobs/{descriptor.digest}")
                self._response = client.steadily("GET", url, what=what, headers=headers, stream=True)
                partial = self._response.status_code == 206 and not whole
                if not partial and self._response.status_code != 200:
                    with contextlib.closing(self._response):
                        raise client.refused(self._response, what=what)
            except RegistryError as problem:  # a mirror, or where the blob was seen once: the next may have it
                if client.access.stop.is_set():
                    raise
                failed.append((origin, client, problem))
            else:
                for before, silent, why in failed:
                    before.pass_over(silent, why)
                if not partial:
                    self._skip(start)  # no ranges there: read on to where we want to be
                return
        *others, (_, _, last) = failed
        last.details = "\n".join(filter(None, [last.details, *(why.brief for _, _, why in others)])) or None
        raise last

    def _skip(self, count: int) -> None:
        while count and (data := self.read(min(count, _PIECE))):
            count -= len(data)

    def read(self, count: int, /) -> bytes:
        """The next bytes."""
        return bytes(self._response.raw.read(count))

    def close(self) -> None:
        """Drop the connection."""
        self._response.close()


class Part:
    """Bytes `start` to `end` of a blob as a request's body; read again from its beginning after `restart`."""

    def __init__(self, blob: Blob, *, start: int, end: int, advance: Callable[[int], None]) -> None:
        self._blob = blob
        self._start = start
        self._end = end
        self._at = start
        self._advance = advance
        self._file: Readable | None = None

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(BLOCK):
            yield data

    def read(self, count: int = BLOCK, /) -> bytes:
        """The next bytes of the part."""
        count = min(count if count > 0 else BLOCK, self._end - self._at)
        if not count:
            return b""
        if self._file is None:
            self._file = self._blob.open(self._at, self._end - self._at)
        data = self._file.read(count)
        if not data:
            raise RegistryError(
                f"`{self._blob.label}` ended before its {self._blob.size} bytes were read",
                hint="its source is damaged: build or pull the image again",
            )
        self._at += len(data)
        self._advance(self._at)
        return data

    def restart(self) -> None:
        """Go back to the beginning of the part."""
        self.close()
        self._at = self._start

    def close(self) -> None:
        """Release the file or the connection."""
        if self._file is not None:
            self._file.close()
            self._file = None
