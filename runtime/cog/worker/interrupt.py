"""Cancels a prediction that runs in the main thread: a signal, so that even a sleeping system call ends.

Standard library only.  The signal never breaks a message in two: while one is being sent it is only noted.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Iterator, Optional

from cog.exceptions import CancelationException

SIGNAL = signal.SIGUSR2


class Interrupter:
    """Raises `CancelationException` in the main thread, inside the prediction that it is meant for and nowhere else."""

    def __init__(self) -> None:
        self._open: Optional[str] = None
        self._wanted: Optional[str] = None
        self._shields = 0
        self._main = threading.main_thread().ident or 0
        signal.signal(SIGNAL, self._arrived)

    def cancel(self, prediction: str) -> None:
        """Ask for it, from any thread.  A prediction that is not running yet is canceled when it begins."""
        self._wanted = prediction
        signal.pthread_kill(self._main, SIGNAL)

    @contextlib.contextmanager
    def running(self, prediction: str) -> Iterator[None]:
        """While the block runs, the prediction can be canceled."""
        self._open = prediction
        try:
            self._raise_if_wanted()
            yield
        finally:
            self._open = None

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """While the block runs in the main thread, a cancel waits."""
        if threading.get_ident() != self._main:
            yield
            return
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        self._raise_if_wanted()

    def _arrived(self, number: int, frame: Optional[FrameType]) -> None:  # noqa: ARG002
        self._raise_if_wanted()

    def _raise_if_wanted(self) -> None:
        if self._open is not None and self._open == self._wanted and not self._shields:
            self._wanted = None
            raise CancelationException("the prediction was canceled")
