"""How many processes the predictions of a model leave behind, so that they cannot pile up.  Standard library only.

A model may keep helpers, made in `setup` or by its first prediction; so what is left behind is only counted.
"""

from __future__ import annotations

import os

CHILDREN_MAX = max(256, 4 * (os.cpu_count() or 1))
"""How many more children than after `setup` a worker may have; beyond that it is replaced, and they end with it."""


class Children:
    """Counts from when it is made, which is after `setup`."""

    def __init__(self, *, most: int = CHILDREN_MAX) -> None:
        self._limit = most + _count()

    def too_many(self) -> bool:
        """Whether so many were left behind that this process should end.  One system call if there are none at all."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # leaves them to whoever waits for them
        except OSError:  # no child
            return False
        return _count() > self._limit


def _count() -> int:
    found = 0
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as file:
                found += len(file.read().split())
    except OSError:  # a kernel without it, a thread that ended
        pass
    return found
