"""What a person sees: messages, progress, tables on standard error; data on standard output."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TextIO

from builder.errors import CogsmithError

REFRESH = 0.1
"""Seconds between two drawings of the progress line."""
CLEAR = "\r\x1b[K"
"""Back to the start of the line, and erase it."""


class Console:
    """A `Report` on standard error: one progress line on a terminal, only finished work elsewhere."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, progress: str = "auto") -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet or progress == "quiet"
        self._live = _is_live(self._stream) if progress == "auto" else progress == "tty"
        self._running: dict[str, tuple[int, int]] = {}
        self._drawn = 0.0
        self._stopped = False
        self._lock = threading.Lock()
        self._block: list[str] = []

    @property
    def live(self) -> bool:
        """Whether progress is drawn."""
        return self._live and not self._quiet

    def note(self, text: str) -> None:
        """Print one line, unless told to be quiet."""
        if not self._quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._line(f"{paint('warning', '33', self._stream)}: {text}")

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Meanwhile an interrupt is for all threads that tell of their progress, not only for the one that waits."""

        def stop(*_: object) -> None:
            self._stopped = True
            raise KeyboardInterrupt

        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not usual or threading.current_thread() is not threading.main_thread():
            yield
            return
        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def advance(self, label: str, done: int, total: int) -> None:
        """Draw how far the running work is; the end of the work, where the user interrupted it (`stoppable`)."""
        if self._stopped:
            raise KeyboardInterrupt
        if self._quiet or not self._live:
            return
        import time

        with self._lock:
            if total and done >= total:
                self._running.pop(label, None)
            else:
                self._running[label] = (done, total)
            now = time.monotonic()
            if now - self._drawn >= REFRESH or not self._running:
                self._drawn = now
                self._draw()

    def close(self) -> None:
        """Remove the progress line."""
        with self._lock:
            self._running.clear()
            if self._live:
                self._draw()

    def _line(self, text: str) -> None:
        with self._lock:
            if self._live:
                self._erase()
            self._stream.write(text + "\n")
            if self._block:
                self._stream.write("\n".join(self._block))
            elif self._live:
                self._draw()
            self._stream.flush()

    def block(self, lines: Sequence[str]) -> None:
        """Draw several lines of progress in the place of those drawn before; none removes them."""
        with self._lock:
            if self.live:
                self._erase()
                width = max(0, _columns(self._stream) - 1)
                self._block = [line[:width] for line in lines]
                self._stream.write("\n".join(self._block))
                self._stream.flush()

    def _erase(self) -> None:
        up = f"\x1b[{len(self._block) - 1}A\r\x1b[J" if len(self._block) > 1 else ""
        self._stream.write(up or CLEAR)

    def _draw(self) -> None:
        done = sum(part for part, _ in self._running.values())
        total = sum(whole for _, whole in self._running.values())
        text = ""
        if self._running:
            label = next(iter(self._running))
            more = f" and {len(self._running) - 1} more" if len(self._running) > 1 else ""
            share = f"{min(100, 100 * done // total):3d}% " if all(t for _, t in self._running.values()) else ""
            of = f" of {size(total)}" if total else ""
            text = f"{share}{size(done)}{of}  {label}{more}"
            text = text[: max(0, _columns(self._stream) - 1)]
        self._stream.write(CLEAR + text)
        self._stream.flush()


def _is_live(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:  # no terminal, but `--progress tty`
        return 80


def paint(text: str, code: str, stream: TextIO) -> str:
    """`text` in an ANSI colour where `stream` is a terminal that wants it (https://no-color.org)."""
    wanted = _is_live(stream) and not os.environ.get("NO_COLOR") and not os.environ.get("COG_NO_COLOR")
    return f"\x1b[{code}m{text}\x1b[0m" if wanted else text


def print_error(problem: CogsmithError) -> None:
    """One error: what went wrong, the evidence, what to do; in the place of the progress line, if one is drawn."""
    lines = [f"{paint('error', '31', sys.stderr)}: {problem.brief}"]
    if problem.details:
        lines += [f"  {line}" for line in problem.details.splitlines()]
    if problem.hint:
        lines.append(f"{paint('hint', '36', sys.stderr)}: {problem.hint}")
    sys.stderr.write((CLEAR if _is_live(sys.stderr) else "") + "\n".join(lines) + "\n")


def say(text: str) -> None:
    """Print a result on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def size(count: int) -> str:
    """Bytes for a person: `1.5 MB` (powers of 1000, as registries and disks count)."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit in ("B", "kB") else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Rows (the first one is the heading) as aligned columns; those in `right` are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
