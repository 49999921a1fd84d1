"""A control group that limits the number of processes, where this machine lets us make one.  Stdlib only."""

# ruff: noqa: PTH102, PTH106, PTH118, PTH123
# System calls go by their own names here.

from __future__ import annotations

import contextlib
import os

PLACES = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")
"""Version 1's, then version 2's."""


def make_group(processes: int) -> str:
    """The folder of a new group of at most so many processes; empty where none is wanted or can be had."""
    for place in PLACES if processes else ():
        path = os.path.join(place, f"cogsmith-{os.getpid()}")
        with contextlib.suppress(OSError):
            os.mkdir(path)
            try:
                with open(os.path.join(path, "pids.max"), "w", encoding="utf-8") as file:
                    file.write(str(processes))
            except OSError:
                os.rmdir(path)
                raise
            return path
    return ""


def join_group(path: str) -> None:
    """Go to the group, with all that this process will start."""
    if not path:
        return
    with contextlib.suppress(OSError), open(os.path.join(path, "cgroup.procs"), "w", encoding="utf-8") as file:
        file.write("0")


def leave_group(path: str) -> None:
    """Remove the group, of which nobody is left."""
    if path:
        with contextlib.suppress(OSError):
            os.rmdir(path)
