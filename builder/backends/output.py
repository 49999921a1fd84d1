"""What a command prints: shown line by line as it comes, its last lines kept, secrets struck out.

In bounded memory, however much it prints.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
from collections.abc import Callable, Iterable
from typing import Self

from builder.process import LAST_LINES

LINE_MAX = 8192
"""Bytes of a line that are shown at a time."""

SECRET_MIN = 4
"""Shorter lines of a secret are not struck out: they would be found everywhere."""

_CONTROL = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]+|\x1b")
"""What would move a terminal's cursor, or worse."""


class Tail:
    """The last lines."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=LAST_LINES)

    @property
    def lines(self) -> list[str]:
        """The oldest first."""
        return list(self._lines)

    def add(self, line: str) -> None:
        """One more."""
        self._lines.append(line)


class Output:
    """A pipe for a command's output; `show` gets each line without its end.  A context manager.

    Values that are `hidden` are struck out; last lines that are `noise`, of what runs the command, are left out.
    Give `writer` to the command, then `read` until nobody holds it any more.
    """

    def __init__(
        self, show: Callable[[str], None], *, hidden: Iterable[bytes] = (), noise: re.Pattern[str] | None = None
    ) -> None:
        self._show = show
        self._noise = noise
        self._held: list[str] = []
        lines = {line.strip() for value in hidden for line in (value, *value.splitlines())}
        self._hidden = sorted((line for line in lines if len(line) >= SECRET_MIN), key=len, reverse=True)
        self._longest = max(map(len, self._hidden), default=0)
        self.tail = Tail()
        self._reader, self.writer = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_writer()
        os.close(self._reader)

    def read(self) -> None:
        """Show all that comes, to the end."""
        self._close_writer()
        pending = b""
        while piece := os.read(self._reader, 1 << 16):
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                self._add(line)
            pending = self._struck(pending)
            while len(pending) > LINE_MAX + self._longest:  # a value that has only begun is not torn
                self._add(pending[:LINE_MAX])
                pending = pending[LINE_MAX:]
        if pending:
            self._add(pending)

    def _add(self, line: bytes) -> None:
        line = line.rstrip(b"\r").rpartition(b"\r")[2]  # what a terminal would show of a progress bar
        text = _CONTROL.sub("", self._struck(line).decode(errors="replace"))
        text = self._struck(text.encode()).decode(errors="replace")[:LINE_MAX]  # colours may have parted a value
        if self._noise is not None and self._noise.fullmatch(text):
            self._held.append(text)
            return
        for line_of_its_own in (*self._held, text):
            self.tail.add(line_of_its_own)
            self._show(line_of_its_own)
        self._held.clear()

    def _struck(self, data: bytes) -> bytes:
        for value in self._hidden:
            data = data.replace(value, b"***")
        return data

    def _close_writer(self) -> None:
        if self.writer >= 0:
            with contextlib.suppress(OSError):
                os.close(self.writer)
            self.writer = -1
