"""Metrics and the scope that takes them."""

from __future__ import annotations

from typing import Any

import cog
import pytest
from cog.scope import Scope


def test_a_scope_outside_a_prediction_does_nothing() -> None:
    cog.emit_metric("not a valid name", 1)
    cog.current_scope().metrics["a"] = 1
    assert len(cog.current_scope().metrics) == 0


def test_metrics() -> None:
    sent: list[tuple[str, object, str]] = []
    scope = Scope(publish=lambda *metric: sent.append(metric))
    scope.record_metric("timing.load", 0.5)
    scope.record_metric("count", 1, mode="incr")
    scope.metrics.record("count", 2, mode="incr")
    scope.record_metric("steps", "a", mode="append")
    scope.record_metric("steps", "b", mode="append")
    scope.record_metric("one", 1)
    scope.record_metric("one", 2, mode="append")
    assert sent[-1] == ("one", [1, 2], "replace"), "one value becomes a list"
    scope.record_metric("mixed", [1])
    scope.record_metric("mixed", "x", mode="append")
    del scope.metrics["timing.load"]
    assert sent[-1] == ("timing.load", None, "replace")
    scope.metrics.delete("absent")
    assert dict(scope.metrics) == {"count": 3, "steps": ["a", "b"], "one": [1, 2], "mixed": [1, "x"]}
    for value in (float("nan"), {"a": [float("inf")]}):
        with pytest.warns(RuntimeWarning, match="metric 'loss' is dropped"):
            scope.record_metric("loss", value)
    assert "loss" not in scope.metrics


@pytest.mark.parametrize(
    ("first", "second", "mode", "error"),
    [
        (1, "x", "replace", "Metric 'k' has type int, cannot set to str without deleting first"),
        (1, 1.5, "replace", "Metric 'k' has type int, cannot set to float"),
        (True, 1, "replace", "Metric 'k' has type bool, cannot set to int"),
        ("a", 1, "incr", "Metric 'k' has type str, cannot set to int"),
        (None, "a", "incr", "Increment mode requires int or float, got str"),
        (None, (1,), "replace", "Unsupported metric value type: tuple"),
        (None, b"x", "replace", "Unsupported metric value type: bytes"),
        (None, 1, "nope", "Invalid metric mode: 'nope'"),
    ],
)
def test_metrics_keep_their_type(first: Any, second: Any, mode: str, error: str) -> None:
    scope = Scope(publish=lambda *_: None)
    scope.record_metric("k", first)
    with pytest.raises(TypeError, match=error):
        scope.record_metric("k", second, mode=mode)
    scope.record_metric("k", None)
    scope.record_metric("k", "a new one")


@pytest.mark.parametrize("name", ["a", "A1", "a.b.c.d", "x_y", "k" * 128, "cog", "predict_time.x"])
def test_names_of_metrics(name: str) -> None:
    scope = Scope(publish=lambda *_: None)
    scope.record_metric(name, 1)
    assert list(scope.metrics) == [name]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", "must not be empty"), ("k" * 129, "128 characters or fewer .got 129"), ("a.b.c.d.e", "at most 4"),
        ("_x", "'_x' must start with a letter"), ("1x", "must start with a letter"), ("é", "must start with a letter"),
        ("x_", "must end with a letter or digit"), ("x__y", "must not contain consecutive underscores"),
        ("a-b", "contains invalid character '-'"), ("a.", "end with a dot"), (".a", "start with a dot"),
        ("a..b", "must not be empty"), ("predict_time", "reserved by the runtime"), ("cog.x", "prefix is reserved"),
    ],
)  # fmt: skip
def test_names_that_no_metric_may_have(name: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Scope(publish=lambda *_: None).record_metric(name, 1)
