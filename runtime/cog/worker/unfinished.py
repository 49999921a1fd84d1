"""The unfinished lines of a worker, in memory that the server sees, too: so they outlive the worker.

Standard library only.  One slot for each stream: with several predictions at a time it holds what was written last.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import Dict, Tuple

LINE_MAX = 8192
"""Bytes without a line end after which a line is sent in pieces."""

_LENGTH = struct.Struct("<I")
_SLOT = _LENGTH.size + LINE_MAX
_OFFSETS = {"stdout": 0, "stderr": _SLOT}


def make_shared() -> int:
    """A descriptor of such memory, all zero."""
    try:
        number = os.memfd_create("cog-unfinished")
    except (AttributeError, OSError):  # an old kernel or C library
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, 2 * _SLOT)
    return number


class Unfinished:
    """That memory; the descriptor may be closed."""

    def __init__(self, number: int) -> None:
        self._memory = mmap.mmap(number, 2 * _SLOT)

    def note(self, source: str, line: bytes) -> None:
        """Put up to `LINE_MAX` bytes into the slot of a stream; none if the line was sent."""
        at = _OFFSETS[source]
        begin = at + _LENGTH.size
        self._memory[begin : begin + len(line)] = line
        _LENGTH.pack_into(self._memory, at, len(line))

    def left(self) -> Tuple[Tuple[str, bytes], ...]:
        """What the slots hold, by stream, those that hold something."""
        found: Dict[str, bytes] = {}
        for source, at in _OFFSETS.items():
            (length,) = _LENGTH.unpack_from(self._memory, at)
            begin = at + _LENGTH.size
            found[source] = self._memory[begin : begin + min(length, LINE_MAX)]
        return tuple((source, line) for source, line in found.items() if line)

    def close(self) -> None:
        """Give it back; it is gone when both sides have."""
        self._memory.close()
