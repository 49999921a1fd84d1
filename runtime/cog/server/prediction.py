"""One prediction as the server sees it.  Standard library only."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import math
from typing import Any, Callable, Dict, List, Optional

from cog.worker.protocol import Done, FileAt, Metric, Output

TERMINAL = ("succeeded", "failed", "canceled")

Watcher = Callable[[str, Any], None]
"""Is told what happens, at once: `start`, `log`, `metric`, `output` or `completed`, and the event's data."""


@dataclasses.dataclass(frozen=True)
class FileOutput:
    """A file at a position of an output; it lies in the prediction's folder until the answer is sent."""

    path: str
    name: str
    type: str


class Prediction:
    """Its state, changed by the worker's messages; `finished` is set when nothing more will come.

    `id` is the client's.  `number` names it between server and worker, and is never used again.  `input` makes
    what clients may see of its input.
    """

    __slots__ = (
        "_logs",
        "body",
        "cancel_asked",
        "completed_at",
        "created_at",
        "error",
        "finished",
        "folder",
        "followed",
        "has_files",
        "has_output",
        "holders",
        "id",
        "input",
        "kept",
        "metrics",
        "notes",
        "number",
        "output",
        "started_at",
        "status",
        "stream",
        "version",
        "watchers",
        "wrote",
    )

    def __init__(
        self,
        identity: str,
        *,
        number: str,
        folder: str,
        given: Optional[Callable[[], Any]] = None,
        version: Optional[str] = None,
    ) -> None:
        self.id = identity
        self.number = number
        self.folder = folder
        self.input = given
        self.version = version
        self.status = "starting"
        self.created_at = now()
        self.started_at: Optional[str] = None
        self.completed_at: Optional[str] = None
        self.error: Optional[str] = None
        self.has_output = False
        self.has_files = False
        self.output: Any = None
        self.metrics: Dict[str, Any] = {}
        self.finished = asyncio.Event()
        self.cancel_asked = False
        self.wrote = False
        self.holders = 0
        """How many still need its files: answers, webhooks, the memory of it."""
        self.watchers: List[Watcher] = []
        self.stream: Any = None
        """Its events for clients that follow it, if the model is one that can be followed."""
        self.followed = False
        """Made by a client that follows its events: when nobody does any more, nobody wants it."""
        self.body: Any = None
        """Its answer in pieces (see `cog.server.answers`), made once when it has ended."""
        self.kept = False
        """Nobody is certain to fetch its answer: its files stay as long as it is remembered."""
        self.notes: Any = None
        """Of an observer."""
        self._logs: List[str] = []

    def begin(self) -> None:
        """It was handed to the worker."""
        self.status = "processing"
        self.started_at = now()
        self._tell("start", {"id": self.id, "status": "processing"})

    def log(self, source: str, text: str) -> None:
        """The model wrote something."""
        self.wrote = True
        self._logs.append(text)
        if self.watchers:
            self._tell("log", {"data": text, "source": source})

    def add_output(self, message: Output) -> None:
        """An iterator gave an item."""
        if not self.has_output:
            self.has_output, self.output = True, []
        self.output.append(self._with_files(message.value, message.files))
        if self.watchers:
            self._tell("output", {"chunk": self.output[-1], "index": len(self.output) - 1})

    def add_metric(self, message: Metric) -> None:
        """The model recorded a number or the like; dots in its name make nested objects.

        Names that the model keeps apart may meet here (`t` and `t.x`): what does not go together is replaced.
        """
        *path, last = message.name.split(".")
        holder = self.metrics
        for part in path:
            inner = holder.get(part)
            if not isinstance(inner, dict):
                inner = holder[part] = {}
            holder = inner
        if message.value is None:
            holder.pop(last, None)
        elif message.mode == "incr":
            holder[last] = _sum(holder.get(last), message.value)
        elif message.mode == "append":
            old = holder.get(last)
            holder[last] = [*(old if isinstance(old, list) else []), message.value]
        else:
            holder[last] = message.value
        if self.watchers:
            self._tell("metric", {"mode": message.mode, "name": message.name, "value": message.value})

    def end(self, message: Done) -> None:
        """The worker is done with it."""
        if message.status not in TERMINAL:
            raise ValueError(f"not the end of a prediction: {message.status!r}")
        if message.iterated:
            if message.status == "succeeded" and not self.has_output:
                self.has_output, self.output = True, []
        else:
            output = self._with_files(message.value, message.files) if message.files else message.value
            self.has_output, self.output = True, output
            if self.watchers:
                self._tell("output", {"chunk": output, "index": 0})
        if message.seconds is not None:
            self.metrics["predict_time"] = message.seconds
        self._close(message.status, message.error)

    def abort(self, error: str) -> None:
        """It ended without the worker's saying so; that is what a client wanted who canceled it."""
        if self.cancel_asked:
            self._close("canceled", None)
        else:
            self._close("failed", error)

    def snapshot(self) -> Dict[str, Any]:
        """What a client sees of it now."""
        logs = self._logs
        if len(logs) > 1:
            logs[:] = ["".join(logs)]
        view: Dict[str, Any] = {"id": self.id, "status": self.status, "created_at": self.created_at}
        if self.version is not None:
            view["version"] = self.version
        if self.started_at is not None:
            view["started_at"] = self.started_at
        if self.completed_at is not None:
            view["completed_at"] = self.completed_at
        view["logs"] = logs[0] if logs else ""
        view["metrics"] = self.metrics
        if self.error is not None:
            view["error"] = self.error
        if self.has_output:
            view["output"] = self.output
        return view

    def thin(self) -> None:
        """Let go of what its answer says, too."""
        self.output = None
        self.metrics = {}
        self._logs = []

    def _close(self, status: str, error: Optional[str]) -> None:
        self.status, self.error = status, error
        self.completed_at = now()
        self.finished.set()
        self._tell("completed", None)

    def _tell(self, kind: str, data: Any) -> None:
        for watcher in self.watchers:
            watcher(kind, data)

    def _with_files(self, value: Any, files: List[Dict[str, Any]]) -> Any:
        holder = [value]
        for item in files:
            self.has_files = True
            file = FileAt(**item)
            place: Any = holder
            path = [0, *file.at]
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = FileOutput(file.path, file.name, file.type)
        return holder[0]


def now() -> str:
    """The time in the form of an OpenAPI `date-time`."""
    return dt.datetime.now(dt.timezone.utc).isoformat()


def _sum(old: Any, value: Any) -> Any:
    """Both together; `value` if they are not numbers or their sum is not one that JSON has."""
    if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in (old, value)):
        return value
    try:
        total = old + value
    except OverflowError:
        return value
    return value if isinstance(total, float) and not math.isfinite(total) else total
