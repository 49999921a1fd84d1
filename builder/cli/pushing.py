"""How a push is seen: a block of lines on a terminal, a line for each finished layer elsewhere, or JSON events."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.cli.console import REFRESH, Console, say, size

if TYPE_CHECKING:
    from builder.registry.push import Moved

EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""
WINDOW = 5.0
"""Seconds over which the speed is averaged."""
WORDS = {"present": "already there", "mounted": "mounted", "sent": "pushed", "copied": "copied"}


class PushProgress:
    """A `Report` of blobs on their way.  Safe to call from threads."""

    def __init__(self, console: Console, *, sizes: Mapping[str, int], as_json: bool) -> None:
        self._console = console
        self._json = as_json
        self._left = sum(sizes.values())
        self._done: dict[str, tuple[int, int]] = {}
        self._finished = 0
        self._begun = self._told = time.monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._begun, 0)])
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Pass it on."""
        self._console.note(text)

    def warn(self, text: str) -> None:
        """Pass it on."""
        self._console.warn(text)

    def advance(self, label: str, done: int, total: int) -> None:
        """A blob has come so far."""
        with self._lock:
            self._done[label] = (done, total)
            now = time.monotonic()
            if self._console.live and not self._json:
                if now - self._told >= REFRESH:
                    self._told = now
                    self._console.block(self._lines(now))
            elif now - self._told >= EVERY:
                self._told = now
                if self._json:
                    self._event("progress", bytes=self._sum(), total=self._left)
                else:
                    self._console.note(self._total(now))

    def moved(self, moved: Moved) -> None:
        """A blob is there."""
        with self._lock:
            self._done.pop(moved.label, None)
            if moved.how in ("present", "mounted"):
                self._left -= moved.size
            else:
                self._finished += moved.size
            if self._json:
                self._event("layer", digest=moved.digest, size=moved.size, how=moved.how, title=moved.label[13:])
        if not self._json:
            self._console.note(f"{WORDS[moved.how]:13} {moved.label} ({size(moved.size)})")

    def close(self, event: Mapping[str, Any] | None = None) -> None:
        """Remove the block; the last event."""
        self._console.block([])
        if self._json and event is not None:
            self._event("pushed", **event)

    def _event(self, event: str, /, **values: Any) -> None:
        say(json.dumps({"event": event, **values}))

    def _sum(self) -> int:
        return self._finished + sum(done for done, _ in self._done.values())

    def _lines(self, now: float) -> list[str]:
        active = sorted((label, part) for label, part in self._done.items() if part[0] < part[1])
        lines = [f"{_bar(done, total)} {size(done):>8} of {size(total):>8}  {label}" for label, (done, total) in active]
        return [*lines, self._total(now)]

    def _total(self, now: float) -> str:
        done = min(self._sum(), self._left)
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW:
            self._samples.popleft()
        (then, before) = self._samples[0]
        speed = max(0.0, (done - before) / (now - then)) if now > then else 0.0
        left = f", {_duration((self._left - done) / speed)} left" if speed else ""
        return f"{_bar(done, self._left)} {size(done):>8} of {size(self._left):>8}, {size(int(speed))}/s{left}"


def _bar(done: int, total: int) -> str:
    share = min(1.0, done / total) if total else 1.0
    return f"{100 * share:3.0f}% [{'#' * int(20 * share):20}]"


def _duration(seconds: float) -> str:
    whole = int(seconds) + 1
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
