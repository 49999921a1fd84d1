"""The container's log: what the server and the model write, passed on without ever holding up a request.

As JSON, a record a line on standard error, in the form of Cog's own server; or, with `LOG_FORMAT=console`, as it is.
Standard library only.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import queue
import threading
import time
from typing import Any, Dict, Optional, Tuple

PENDING_MAX = 10_000
"""Pieces of text that may wait; more are dropped while nobody reads the container's output."""

PARTIAL_MAX = 8192
"""Characters of a line without an end that become a record of their own."""

LEVELS = ("debug", "info", "warning", "error")
"""How important a line of the server's own is, the least first."""

_NAMES = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR"}


class Console:
    """Writes to descriptors 1 and 2 from a thread of its own.  Of the server's own lines those from `level` on.

    `form` is `json` or `console`.
    """

    def __init__(self, *, level: str = "info", form: str = "console") -> None:
        self._least = LEVELS.index(level)
        self._records = Records() if form == "json" else None
        self._queue: "queue.Queue[Optional[Tuple[float, str, Optional[str], str]]]" = queue.Queue(PENDING_MAX)
        self._thread = threading.Thread(target=self._write, name="console", daemon=True)
        self._thread.start()

    def pass_on(self, source: str, text: str, prediction: Optional[str] = None) -> None:
        """Text that the model wrote to `source` (`stdout`, `stderr`), during the `prediction` of this id."""
        self._put(source, prediction, text)

    def say(self, text: str, *, level: str = "info") -> None:
        """One line of the server's own."""
        if LEVELS.index(level) >= self._least:
            self._put(level, None, text)

    def ended(self, prediction: str) -> None:
        """No more text of this prediction will come."""
        if self._records is not None:
            self._put("", prediction, "")

    def close(self, *, timeout: float = 1.0) -> None:
        """Write what waits, for up to `timeout` seconds."""
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _put(self, kind: str, prediction: Optional[str], text: str) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((time.time(), kind, prediction, text))

    def _write(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                if self._records is not None:
                    _write_all(2, self._records.rest())
                return
            if self._records is not None:
                _write_all(2, self._records.of(*item))
                continue
            _, kind, _, text = item
            _write_all(1 if kind == "stdout" else 2, f"[cogsmith] {text}\n" if kind in LEVELS else text)


class Records:
    """Makes JSON records: one for a line of the server's, one for each whole line of the model's."""

    def __init__(self) -> None:
        self._partial: Dict[Tuple[str, Optional[str]], Tuple[float, str]] = {}

    def of(self, moment: float, kind: str, prediction: Optional[str], text: str) -> str:
        """The records that a piece of text completes; `kind` is a level, a stream, or empty at a prediction's end."""
        if kind in LEVELS:
            return _record(moment, kind, "cog::server", {"message": text})
        if not kind:
            return "".join(self._cut(key) for key in list(self._partial) if key[1] == prediction)
        key = (kind, prediction)
        begun, before = self._partial.pop(key, (moment, ""))
        *whole, last = (before + text).split("\n")
        if len(last) > PARTIAL_MAX:
            whole.append(last)
        elif last:
            self._partial[key] = (moment if whole else begun, last)
        return "".join(self._line(moment if index else begun, key, line) for index, line in enumerate(whole))

    def rest(self) -> str:
        """The lines that have no end yet."""
        return "".join(self._cut(key) for key in list(self._partial))

    def _cut(self, key: Tuple[str, Optional[str]]) -> str:
        moment, text = self._partial.pop(key)
        return self._line(moment, key, text)

    def _line(self, moment: float, key: Tuple[str, Optional[str]], text: str) -> str:
        source, prediction = key
        fields = {"message": text.rstrip("\r"), "source": source}
        if prediction is None:
            return _record(moment, "info", "cog::user", fields)
        return _record(moment, "info", "cog::prediction", {**fields, "prediction_id": prediction})


def _record(moment: float, level: str, target: str, fields: Dict[str, Any]) -> str:
    stamp = dt.datetime.fromtimestamp(moment, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return json.dumps({"timestamp": stamp, "level": _NAMES[level], "fields": fields, "target": target}) + "\n"


def _write_all(number: int, text: str) -> None:
    data = text.encode("utf-8", "replace")
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(number, data) :]
