"""The prediction that runs now: its metrics and its context.  Standard library only.

The worker puts a scope in place; outside a prediction `current_scope()` gives one that does nothing.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any, Callable, Dict, Iterator, List, Optional

_SEGMENT = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?\Z")
_MODES = ("replace", "incr", "append")


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
        self.values: Dict[str, Any] = {}

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Set (`replace`), add to (`incr`) or extend (`append`) a metric; None deletes it.

        Raises ValueError for a malformed or reserved name and TypeError for a value of another type than before.
        """
        if self._publish is None:
            return
        if mode not in _MODES:
            raise ValueError(f"unknown metric mode {mode!r}: use one of {', '.join(_MODES)}")
        _check_key(key)
        if value is None:
            self.values.pop(key, None)
            self._publish(key, None, "replace")
            return
        if not isinstance(value, (bool, int, float, str, list, dict)):
            raise TypeError(f"metric {key!r} cannot be a {type(value).__name__}")
        self.values[key] = self._merged(key, value, mode)
        self._publish(key, value, mode)

    def _merged(self, key: str, value: Any, mode: str) -> Any:
        old = self.values.get(key)
        if mode == "append":
            if old is not None and not isinstance(old, list):
                raise TypeError(f"metric {key!r} is a {type(old).__name__}, not a list")
            return [*(old or []), value]
        if old is not None and _kind(old) != _kind(value):
            raise TypeError(f"metric {key!r} is a {_kind(old)}, not a {_kind(value)}")
        if mode == "incr":
            if _kind(value) != "number":
                raise TypeError(f"metric {key!r} can only be incremented by a number")
            return (old or 0) + value
        return value

    @property
    def metrics(self) -> "Metrics":
        """The metrics as a mapping: `scope.metrics["tokens"] = 5`."""
        return Metrics(self)


class Metrics:
    """The metrics of a scope, by name."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def record(self, key: str, value: Any, mode: str = "replace") -> None:
        """`Scope.record_metric` under its short name."""
        self._scope.record_metric(key, value, mode=mode)

    def __setitem__(self, key: str, value: Any) -> None:
        self._scope.record_metric(key, value)

    def __getitem__(self, key: str) -> Any:
        return self._scope.values[key]

    def __delitem__(self, key: str) -> None:
        self._scope.record_metric(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._scope.values

    def __iter__(self) -> Iterator[str]:
        return iter(self._scope.values)

    def __len__(self) -> int:
        return len(self._scope.values)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _check_key(key: str) -> None:
    if not isinstance(key, str):
        raise TypeError("a metric's name must be a string")
    segments: List[str] = key.split(".")
    if len(key) > 128 or len(segments) > 4 or "__" in key or not all(_SEGMENT.match(part) for part in segments):
        raise ValueError(f"invalid metric name {key!r}")
    if key == "predict_time" or key.startswith("cog."):
        raise ValueError(f"metric name {key!r} is reserved")


_NOWHERE = Scope()
CURRENT: "ContextVar[Optional[Scope]]" = ContextVar("cog_scope", default=None)
"""Set by the worker around each prediction."""


def current_scope() -> Scope:
    """The scope of the prediction that runs now; outside one, a scope that does nothing."""
    return CURRENT.get() or _NOWHERE


def emit_metric(name: str, value: Any) -> None:
    """Record a metric of the prediction that runs now."""
    current_scope().record_metric(name, value)
