"""The container's log: what the server and the model write, passed on without ever holding up a request.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import Optional, Tuple

PENDING_MAX = 10_000
"""Pieces of text that may wait; more are dropped while nobody reads the container's output."""


LEVELS = ("debug", "info", "warning", "error")
"""How important a line of the server's own is, the least first."""


class Console:
    """Writes to descriptors 1 and 2 from a thread of its own.  Of the server's own lines those from `level` on."""

    def __init__(self, *, level: str = "info") -> None:
        self._least = LEVELS.index(level)
        self._queue: "queue.Queue[Optional[Tuple[int, bytes]]]" = queue.Queue(PENDING_MAX)
        self._thread = threading.Thread(target=self._write, name="console", daemon=True)
        self._thread.start()

    def pass_on(self, source: str, text: str) -> None:
        """Text of the model, as it is."""
        self._put(1 if source == "stdout" else 2, text)

    def say(self, text: str, *, level: str = "info") -> None:
        """One line of the server's own."""
        if LEVELS.index(level) >= self._least:
            self._put(2, f"[cogsmith] {text}\n")

    def close(self, *, timeout: float = 1.0) -> None:
        """Write what waits, for up to `timeout` seconds."""
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _put(self, number: int, text: str) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((number, text.encode("utf-8", "replace")))

    def _write(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            number, data = item
            try:
                while data:
                    data = data[os.write(number, data) :]
            except OSError:
                pass
