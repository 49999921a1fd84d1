"""Process 1 of a container that has no init: passes signals on, buries orphans, ends with its child's exit code.

Standard library only; runs before anything else is imported, in a process that does nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def become_init() -> None:
    """Return in a child process; the calling process stays behind as its init and never returns."""
    numbers = [getattr(signal, name) for name in FORWARDED]
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        return

    def forward(number: int, frame: Any) -> None:  # noqa: ARG001
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in numbers:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
