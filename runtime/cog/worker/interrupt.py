"""Cancels a prediction that runs in the main thread: a signal, so that even a sleeping system call ends.

Standard library only.  The signal never breaks a message in two: while one is being sent it is only noted.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Optional

from cog.exceptions import CancelationException

SIGNAL = signal.SIGUSR2

AGAIN = 0.05
"""Seconds after which the signal is sent again where it had no effect."""

INSISTING = 15.0
"""Seconds for which that goes on: by then the server has ended the process."""

_get_ident = threading.get_ident


class Interrupter:
    """Raises `CancelationException` in the main thread, inside the prediction that it is meant for and nowhere else."""

    def __init__(self) -> None:
        self._open: Optional[str] = None
        self._wanted: Optional[str] = None
        self._shields = 0
        self._main = threading.main_thread().ident or 0
        self.shield = _Shield(self)
        """`with interrupter.shield:` while the block runs in the main thread, a cancel waits."""
        signal.signal(SIGNAL, self._arrived)

    def cancel(self, prediction: str) -> None:
        """Ask for it, from any thread.  A prediction that is not running yet is canceled when it begins."""
        self._wanted = prediction
        signal.pthread_kill(self._main, SIGNAL)
        threading.Thread(target=self._insist, args=(prediction,), daemon=True).start()

    def running(self, prediction: str) -> "_Running":
        """While the block runs, the prediction can be canceled."""
        return _Running(self, prediction)

    def begin(self, prediction: str) -> None:
        """Of `running`."""
        self._open = prediction
        try:
            self._raise_if_wanted()
        except CancelationException:
            self._open = None
            raise

    def end(self) -> None:
        """Of `running`."""
        if self._wanted == self._open:
            self._wanted = None
        self._open = None

    def hold(self) -> None:
        """Of `shield`."""
        if _get_ident() == self._main:
            self._shields += 1

    def let_go(self) -> None:
        """Of `shield`."""
        if _get_ident() == self._main:
            self._shields -= 1
            self._raise_if_wanted()

    def _insist(self, prediction: str) -> None:
        # A signal that comes between Python's last look at it and the start of a system call does not end the call.
        deadline = time.monotonic() + INSISTING
        while time.monotonic() < deadline:
            time.sleep(AGAIN)
            if self._wanted != prediction:
                return
            if self._open == prediction:
                signal.pthread_kill(self._main, SIGNAL)

    def _arrived(self, number: int, frame: Optional[FrameType]) -> None:  # noqa: ARG002
        self._raise_if_wanted()

    def _raise_if_wanted(self) -> None:
        if self._open is not None and self._open == self._wanted and not self._shields:
            self._wanted = None
            raise CancelationException("the prediction was canceled")


class _Running:
    def __init__(self, interrupter: Interrupter, prediction: str) -> None:
        self._interrupter = interrupter
        self._prediction = prediction

    def __enter__(self) -> None:
        self._interrupter.begin(self._prediction)

    def __exit__(self, *problem: object) -> None:
        self._interrupter.end()


class _Shield:
    def __init__(self, interrupter: Interrupter) -> None:
        self._interrupter = interrupter

    def __enter__(self) -> None:
        self._interrupter.hold()

    def __exit__(self, *problem: object) -> None:
        self._interrupter.let_go()
