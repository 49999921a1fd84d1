"""The tar inside a layer blob, inflated ahead by a thread and hashed on the way: gzip (many members), zstd or plain."""

from __future__ import annotations

import contextlib
import hashlib
import io
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

CHUNK = 1 << 18
GZIP, ZSTD, SKIPPABLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"


class Inflated(io.RawIOBase):
    """A readable stream of the uncompressed bytes of `blob`; raises `ValueError` where the compression is damaged.

    Close it: a thread reads ahead.  After `drain()`, `diff_id` is the digest of the whole content.
    """

    def __init__(self, blob: BinaryIO) -> None:
        super().__init__()
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=8)
        self._rest = memoryview(b"")
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(blob,), daemon=True)
        self._thread.start()

    @property
    def diff_id(self) -> str:
        """`sha256:...` of everything read; only meaningful at the end."""
        return "sha256:" + self._hash.hexdigest()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, target: Any, /) -> int:
        """Fill as much of `target` as is ready; 0 at the end."""
        if not self._rest and not self._ended:
            item = self._queue.get()
            if item is None:
                self._ended = True
            elif isinstance(item, bytes):
                self._rest = memoryview(item)
            else:
                self._ended = True
                raise item
        view = memoryview(target).cast("B")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def drain(self) -> None:
        """Read to the end, so that `diff_id` covers what follows the archive's own end mark."""
        while self.read(CHUNK):
            pass

    def close(self) -> None:
        """Stop the thread."""
        if not self.closed:
            self._stop.set()
            self._thread.join()
        super().close()

    def _work(self, blob: BinaryIO) -> None:
        try:
            for piece in inflate(blob):
                self._hash.update(piece)
                if not self._put(piece):
                    return
            self._put(None)
        except (ValueError, OSError, EOFError) as problem:
            self._put(problem)

    def _put(self, item: bytes | Exception | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def inflate(blob: BinaryIO) -> Iterator[bytes]:
    """The uncompressed pieces of `blob`, told apart by its first bytes and not by what a manifest says of it."""
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
                piece = member.decompress(data, 4 * CHUNK)
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
        while piece := reader.read(CHUNK):
            yield piece
    except zstandard.ZstdError as problem:
        raise ValueError(f"damaged zstd data: {problem}") from problem
