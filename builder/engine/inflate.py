"""The tar inside a layer blob, inflated ahead by a thread and hashed on the way."""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from typing import Any, BinaryIO

from builder.inflate import PIECE, inflate


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
        while self.read(PIECE):
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
