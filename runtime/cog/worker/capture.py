"""Sends what a prediction writes to its logs, in the order in which it was written.  Standard library only.

Python's own streams are replaced, so that each write is known to belong to the prediction of its context.  What C
code and child processes write to file descriptors 1 and 2 arrives in two pipes.  The server reads them when they
fill, even if this process hangs or dies; this process empties them before each message of its own, which keeps the
order.  Nothing here waits for a pipe.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from contextvars import ContextVar
from typing import Any, Callable, Dict, Optional

from cog.worker.protocol import CHUNK, Log, whole_characters
from cog.worker.unfinished import LINE_MAX, Unfinished

PREDICTION: "ContextVar[Optional[str]]" = ContextVar("cog_prediction", default=None)
"""The prediction that the current context belongs to."""

NOBODY = ""
"""In place of a prediction: of no prediction, whatever runs."""


class Capture:
    """The streams of this process.  `pipes` maps `stdout` and `stderr` to the reading ends, which do not block.

    Unfinished lines are noted in `unfinished`, where the server finds them if this process dies.
    """

    def __init__(self, send: Callable[[Log], None], *, pipes: Dict[str, int], unfinished: Unfinished) -> None:
        self._send: Optional[Callable[[Log], None]] = send
        self._sources = {number: source for source, number in pipes.items()}
        self._poll = select.poll()
        for number in self._sources:
            self._poll.register(number, select.POLLIN)
        self._partial: Dict[Any, bytes] = {}
        self._unfinished = unfinished
        self._noted: Dict[str, Any] = {}
        self._lock = threading.RLock()
        self._flush_c = _c_stdout_flusher()
        self.sole: Optional[str] = None
        """The prediction to which text of unknown origin belongs: the only one that runs."""

    def install(self) -> None:
        """Replace `sys.stdout` and `sys.stderr`; children made by fork write to the descriptors again."""
        sys.stdout = Stream(self, "stdout")
        sys.stderr = Stream(self, "stderr")
        os.register_at_fork(after_in_child=self._forked)

    def write(self, source: str, data: bytes) -> None:
        """Take bytes written to a stream; whole lines are sent at once, the rest with the next or at `flush`."""
        owner = self._owner()
        key = (owner, source)
        with self._lock:
            data = self._partial.pop(key, b"") + data
            if not data:
                return
            cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            if len(data) - cut > LINE_MAX:
                cut = whole_characters(data)
            if cut:
                self._emit(owner, source, data[:cut])
            self._keep(key, data[cut:])

    def flush(self, source: str) -> None:
        """Send the unfinished line of a stream."""
        owner = self._owner()
        with self._lock:
            data = self._partial.pop((owner, source), b"")
            if data:
                self._emit(owner, source, data)
                self._keep((owner, source), b"")

    def settle(self) -> None:
        """Send everything written so far in this context: unfinished lines, buffers of C and Python, the pipes."""
        if self._partial:
            self.flush("stdout")
            self.flush("stderr")
        for stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(Exception):
                stream.flush()  # type: ignore[union-attr]
        self._flush_c()
        with self._lock:
            self._drain()

    def _keep(self, key: Any, line: bytes) -> None:
        source = key[1]
        if line:
            self._partial[key] = line
        if self._send is None:
            return
        if line:
            self._noted[source] = key
            self._unfinished.note(source, line)
        elif self._noted.get(source) == key:
            del self._noted[source]
            self._unfinished.note(source, b"")

    def _owner(self) -> Optional[str]:
        named = PREDICTION.get()
        return self.sole if named is None else named or None

    def _emit(self, owner: Optional[str], source: str, data: bytes) -> None:
        if self._send is None:  # in a forked child
            os.write(1 if source == "stdout" else 2, data)
            return
        self._drain()
        self._send(Log(owner, source, data.decode("utf-8", "replace")))

    def _drain(self) -> None:
        if self._send is None:
            return
        # Asked in one call whether there is anything at all; a pipe that the model closed is not readable.
        for number, event in self._poll.poll(0):
            if event & select.POLLIN:
                self._drain_one(self._sources[number], number)

    def _drain_one(self, source: str, number: int) -> None:
        while self._send is not None:
            try:
                data = os.read(number, CHUNK)
            except OSError:  # empty, or closed by the model
                return
            if data:
                # The server reads the same pipe: only there the pieces of a character come together again.
                self._send(Log(self.sole, source, data.decode("utf-8", "surrogateescape"), raw=True))
            if len(data) < CHUNK:
                return

    def _forked(self) -> None:
        self._send = None
        self._partial.clear()
        self._lock = threading.RLock()


class Stream(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr` as the model sees it; `fileno()` is the real descriptor."""

    def __init__(self, capture: Capture, source: str) -> None:
        raw: Any = _Raw(capture, source)
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        self._label = f"<{source}>"

    @property
    def mode(self) -> str:
        """As of a file opened for writing."""
        return "w"

    @property
    def name(self) -> str:
        """As Python names its own."""
        return self._label

    def close(self) -> None:
        """A model cannot close it."""
        self.flush()


class _Raw(io.RawIOBase):
    def __init__(self, capture: Capture, source: str) -> None:
        self._capture = capture
        self._source = source

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._source == "stdout" else 2

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self._capture.write(self._source, bytes(data))
        return len(data)

    def flush(self) -> None:
        self._capture.flush(self._source)

    def close(self) -> None:
        self.flush()


def _c_stdout_flusher() -> Callable[[], Any]:
    # C's stdout is fully buffered on a pipe; make it send lines, and flush the rest on demand.
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        libc.setvbuf(stdout, None, 1, 0)  # _IOLBF
        return lambda: libc.fflush(stdout)
    except (ImportError, OSError, ValueError, AttributeError):
        return lambda: None
