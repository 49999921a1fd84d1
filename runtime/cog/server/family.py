"""Ends a worker's whole family: what it started, and what that started.  Standard library only.

A process belongs to it if it is in the worker's session, or if its environment has the worker's mark, which a process
keeps that made a session of its own (a daemon does).
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Dict, Set

MARK = "COGSMITH_WORKER"
"""The variable that marks a worker and what it starts; its value is another one for each worker."""


def end_family(leader: int, *, mark: str) -> None:
    """Kill them all.  `leader` is the worker, not yet reaped: so its number cannot be another's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)  # a whole group at once: none of it can fork meanwhile
    ended: Set[int] = set()
    while True:  # until none is left that was forked meanwhile
        found = {pid: group for pid, group in _family(leader, mark).items() if pid not in ended}
        if not found:
            return
        for group in set(found.values()) - {os.getpgrp()}:
            if group in found:  # led by one of them, so nobody else's
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended |= set(found)


def _family(leader: int, mark: str) -> Dict[int, int]:
    """The processes of the family, each with its process group."""
    wanted = f"\0{MARK}={mark}\0".encode()
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # after the name: state, parent, group, session
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
