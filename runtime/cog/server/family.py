"""Ends a worker's whole family: what it started, and what that started.  Standard library only.

A process belongs to it if it is in the worker's session, or if its environment has the worker's mark, which a process
keeps that made a session of its own (a daemon does).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Dict, Tuple

MARK = "COGSMITH_WORKER"
"""The variable that marks a worker and what it starts; its value is another one for each worker."""


LIMIT = 5.0
"""Seconds after which a process that does not die is left: it waits for a device, and nothing can be done."""


_YOUNG = 2.0
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD


def end_family(leader: int, *, mark: str) -> None:
    """Kill them all and wait until they are gone, so that what they hold, a GPU's memory say, is free.

    `leader` is the worker, not yet reaped: so its number cannot be another's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)  # a whole group at once: none of it can fork meanwhile
    until = time.monotonic() + LIMIT
    while True:
        found, unsure = _family(leader, mark)
        if not (found or unsure) or time.monotonic() > until:
            return
        for group in set(found.values()) - {os.getpgrp()}:
            if group in found:  # led by one of them, so nobody else's
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _family(leader: int, mark: str) -> Tuple[Dict[int, int], bool]:
    """The processes of the family that live, each with its process group; and whether there may be more of them.

    A process that has just begun to run another program has no environment yet.
    """
    wanted = f"\0{MARK}={mark}\0".encode()
    found: Dict[int, int] = {}
    unsure = False
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # after the name: state, parent, group, session
            if fields[0] in (b"Z", b"X") or int(fields[6]) & _KERNEL_THREAD:
                continue
            if int(fields[3]) != leader:
                with open(f"/proc/{name}/environ", "rb") as file:
                    environment = file.read()
                if wanted not in b"\0" + environment + b"\0":
                    unsure = unsure or (not environment and _age(int(fields[19])) < _YOUNG)
                    continue
            found[int(name)] = int(fields[2])
    return found, unsure


def _age(began: int) -> float:
    """Seconds since a process was forked; `began` is in ticks since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")


def how_it_ended(code: int) -> str:
    """An exit code of `subprocess` in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"killed by signal {-code} ({name}{', perhaps out of memory' if -code == signal.SIGKILL else ''})"
