"""Ends a worker's whole family: what it started, and what that started.  Standard library only.

A process belongs to it if it is in the worker's session, or if its environment has the worker's mark, which a process
keeps that made a session of its own (a daemon does).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Dict

MARK = "COGSMITH_WORKER"
"""The variable that marks a worker and what it starts; its value is another one for each worker."""


LIMIT = 5.0
"""Seconds after which a process that does not die is left: it waits for a device, and nothing can be done."""


def end_family(leader: int, *, mark: str) -> None:
    """Kill them all and wait until they are gone, so that what they hold, a GPU's memory say, is free.

    `leader` is the worker, not yet reaped: so its number cannot be another's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)  # a whole group at once: none of it can fork meanwhile
    until = time.monotonic() + LIMIT
    while True:
        found = _family(leader, mark)
        if not found or time.monotonic() > until:
            return
        for group in set(found.values()) - {os.getpgrp()}:
            if group in found:  # led by one of them, so nobody else's
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _family(leader: int, mark: str) -> Dict[int, int]:
    """The processes of the family that live, each with its process group."""
    wanted = f"\0{MARK}={mark}\0".encode()
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # after the name: state, parent, group, session
            if fields[0] in (b"Z", b"X"):
                continue
            if int(fields[3]) != leader:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted not in b"\0" + file.read() + b"\0":
                        continue
            found[int(name)] = int(fields[2])
    return found


def how_it_ended(code: int) -> str:
    """An exit code of `subprocess` in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"killed by signal {-code} ({name}{', perhaps out of memory' if -code == signal.SIGKILL else ''})"
