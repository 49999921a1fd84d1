"""The prediction that runs now: its metrics and its context.  Standard library only.

The worker puts a scope in place; outside a prediction `current_scope()` gives one that does nothing.
"""

from __future__ import annotations

import math
import re
from contextvars import ContextVar
from typing import Any, Callable, Dict, Iterator, List, MutableMapping, Optional

_MODES = ("replace", "incr", "append")
_KINDS = (bool, int, float, str, list, dict)
_ILLEGAL = re.compile(r"[^A-Za-z0-9_]")

NAME_MAX = 128
"""Longest name of a metric, in characters."""

SEGMENTS_MAX = 4


class Scope:
    """Metrics and context of one prediction.

    A metric's name is up to four segments joined by dots (`timing.load`), which become nested objects; its values
    are bool, int, float, str, list or dict, and keep their type.
    """

    def __init__(
        self, *, context: Optional[Dict[str, str]] = None, publish: Optional[Callable[[str, Any, str], None]] = None
    ) -> None:
        self.context: Dict[str, str] = dict(context or {})
        self._publish = publish
        self._values: Dict[str, Any] = {}
        self._kinds: Dict[str, str] = {}

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Set (`replace`), add to (`incr`) or extend (`append`) a metric; None deletes it.

        ValueError for a malformed or reserved name, TypeError for another mode, a value that is no metric or one of
        another type than before.  A number that JSON cannot express is dropped with a warning.
        """
        if self._publish is None:
            return
        if mode not in _MODES:
            raise TypeError(f"Invalid metric mode: {mode!r}. Expected 'replace', 'incr', or 'append'.")
        _check_name(key)
        if value is None:
            self._values.pop(key, None)
            self._kinds.pop(key, None)
            self._publish(key, None, "replace")
            return
        kind = _kind(value)
        if not _is_finite(value):
            import warnings

            warnings.warn(f"metric {key!r} is dropped: JSON cannot express {value!r}", RuntimeWarning, stacklevel=2)
            return
        merged = self._merged(key, value, kind=kind, mode=mode)
        if mode == "append" and not isinstance(self._values.get(key, []), list):
            mode, value = "replace", merged  # one value becomes a list
        self._publish(key, value, mode)
        self._values[key] = merged
        self._kinds.setdefault(key, kind)

    def _merged(self, key: str, value: Any, *, kind: str, mode: str) -> Any:
        known = self._kinds.get(key, kind)
        if known != kind and not (mode == "append" and known == "list"):
            raise TypeError(f"Metric {key!r} has type {known}, cannot set to {kind} without deleting first")
        old = self._values.get(key)
        if mode == "append":
            return [*([] if old is None else old if isinstance(old, list) else [old]), value]
        if mode == "incr":
            if kind not in ("int", "float"):
                raise TypeError(f"Increment mode requires int or float, got {kind}")
            return value if old is None else old + value
        return value

    @property
    def metrics(self) -> "Metrics":
        """The metrics as a mapping: `scope.metrics["tokens"] = 5`."""
        return Metrics(self, self._values)


class Metrics(MutableMapping[str, Any]):
    """The metrics of a scope, by name."""

    def __init__(self, scope: Scope, values: Dict[str, Any]) -> None:
        self._scope = scope
        self._values = values

    def record(self, key: str, value: Any, mode: str = "replace") -> None:
        """`Scope.record_metric` under its short name."""
        self._scope.record_metric(key, value, mode=mode)

    def delete(self, key: str) -> None:
        """Remove a metric, if there is one."""
        self._scope.record_metric(key, None)

    def __setitem__(self, key: str, value: Any) -> None:
        self._scope.record_metric(key, value)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __delitem__(self, key: str) -> None:
        self.delete(key)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _kind(value: Any) -> str:
    for kind in _KINDS:
        if isinstance(value, kind):
            return kind.__name__
    name = type(value).__name__
    raise TypeError(f"Unsupported metric value type: {name}. Expected bool, int, float, str, list, or dict.")


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        value = list(value.values())
    return all(_is_finite(item) for item in value) if isinstance(value, (list, tuple)) else True


def _check_name(name: str) -> None:
    """Cog's rules for a metric's name; TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError("metric name must be a string")
    if not name:
        raise ValueError("metric name must not be empty")
    if len(name) > NAME_MAX:
        raise ValueError(f"metric name must be {NAME_MAX} characters or fewer (got {len(name)} characters)")
    if name == "predict_time":
        raise ValueError("'predict_time' is reserved by the runtime")
    if name.startswith("cog."):
        raise ValueError("the 'cog.' prefix is reserved for system metrics")
    if name.startswith("."):
        raise ValueError("metric name must not start with a dot")
    if name.endswith("."):
        raise ValueError("metric name must not end with a dot")
    segments = name.split(".")
    if len(segments) > SEGMENTS_MAX:
        raise ValueError(f"metric name must have at most {SEGMENTS_MAX} dot-separated segments (got {len(segments)})")
    for segment in segments:
        problem = _problem(segment)
        if problem:
            raise ValueError(f"metric name segment {segment!r} {problem}")


def _problem(segment: str) -> Optional[str]:
    if not segment:
        return "must not be empty"
    if not (segment[0].isascii() and segment[0].isalpha()):
        return "must start with a letter"
    illegal = _ILLEGAL.search(segment)
    if illegal:
        return f"contains invalid character {illegal.group()!r}"
    if segment.endswith("_"):
        return "must end with a letter or digit"
    return "must not contain consecutive underscores" if "__" in segment else None


_NOWHERE = Scope()
CURRENT: "ContextVar[Optional[Scope]]" = ContextVar("cog_scope", default=None)
"""Set by the worker around each prediction."""

RUNNING: List[Scope] = []
"""The scopes of all predictions that run, which the worker keeps."""


def current_scope() -> Scope:
    """The scope of the prediction that runs now; outside one, a scope that does nothing.

    A thread that a model starts does not know its prediction: there it is the only one, if no others run.
    """
    scope = CURRENT.get()
    if scope is None:
        running = RUNNING[:]
        scope = running[0] if len(running) == 1 else _NOWHERE
    return scope


def emit_metric(name: str, value: Any) -> None:
    """Record a metric of the prediction that runs now."""
    current_scope().record_metric(name, value)
