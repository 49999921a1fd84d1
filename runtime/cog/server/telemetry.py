"""Numbers for Prometheus: an observer of the service that counts, and the text of `GET /metrics`.

Text exposition format 0.0.4, written here: a client library would cost every start more than these lines.
Standard library only.
"""

from __future__ import annotations

import bisect
import os
import time
from typing import Any, Dict, Iterator, List, Tuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds, in seconds: predictions take from milliseconds to half an hour."""

STATES = ("STARTING", "READY", "BUSY", "UNHEALTHY", "SETUP_FAILED", "DEFUNCT")

_STARTED = time.time()


class Metrics:
    """Counts what happens to predictions and workers; see `Service.observers`."""

    def __init__(self) -> None:
        self._ended: Dict[str, int] = {"succeeded": 0, "failed": 0, "canceled": 0}
        self._refused: Dict[str, int] = {"busy": 0, "not_ready": 0}
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._began: Dict[str, float] = {}
        self._lost = 0
        self._setup_seconds = 0.0

    def began(self, prediction: Any) -> None:
        """A prediction was handed to the worker."""
        self._began[prediction.number] = time.perf_counter()

    def ended(self, prediction: Any) -> None:
        """It has reached its final state."""
        seconds = time.perf_counter() - self._began.pop(prediction.number)
        self._ended[prediction.status] += 1
        self._buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def refused(self, reason: str) -> None:
        """A prediction was not taken: `busy` or `not_ready`."""
        self._refused[reason] += 1

    def ready(self, seconds: float) -> None:
        """A worker was set up, which took so long."""
        self._setup_seconds = seconds

    def lost(self, reason: str) -> None:  # noqa: ARG002
        """The worker is gone."""
        self._lost += 1

    def text(self, *, status: str, slots: int, restarts: int, versions: Dict[str, str]) -> bytes:
        """The body of `/metrics`.  `status` is that of `/health-check`."""
        families: List[Tuple[str, str, str, List[Tuple[str, float]]]] = [
            ("cog_info", "gauge", "What is running here", [(_labels(versions), 1)]),
            (
                "cog_predictions_total", "counter", "Predictions and trainings that have ended, by their final state",
                [(_labels({"status": name}), count) for name, count in self._ended.items()],
            ),
            (
                "cog_predictions_refused_total", "counter", "Requests that no worker was free or ready for",
                [(_labels({"reason": name}), count) for name, count in self._refused.items()],
            ),
            ("cog_predictions_running", "gauge", "Predictions that run now", [("", len(self._began))]),
            ("cog_slots", "gauge", "Predictions that may run at the same time", [("", slots)]),
            (
                "cog_status", "gauge", "1 for the state that the server is in",
                [(_labels({"status": name}), name == status) for name in STATES],
            ),
            ("cog_worker_lost_total", "counter", "Worker processes that ended", [("", self._lost)]),
            ("cog_worker_restarts_total", "counter", "Worker processes that were started again", [("", restarts)]),
            ("cog_setup_seconds", "gauge", "How long the last setup took", [("", self._setup_seconds)]),
            *_process(),
        ]  # fmt: skip
        lines = [
            f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
            + "".join(f"{name}{label} {float(value)!r}\n" for label, value in rows)
            for name, kind, text, rows in families
        ]
        return "".join([*lines, *self._histogram("cog_prediction_seconds")]).encode()

    def _histogram(self, name: str) -> Iterator[str]:
        yield f"# HELP {name} Time from the start of a prediction to its end\n# TYPE {name} histogram\n"
        total = 0
        for index, count in enumerate(self._buckets):
            total += count
            bound = str(BUCKETS[index]) if index < len(BUCKETS) else "+Inf"
            yield f'{name}_bucket{{le="{bound}"}} {total}\n'
        yield f"{name}_sum {self._seconds!r}\n{name}_count {total}\n"


def _labels(values: Dict[str, str]) -> str:
    escaped = {
        name: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, text in values.items()
    }
    return "{" + ",".join(f'{name}="{text}"' for name, text in escaped.items()) + "}"


def _process() -> List[Tuple[str, str, str, List[Tuple[str, float]]]]:
    """The server process, under the names that Prometheus' own libraries use."""
    times = os.times()
    families = [
        ("process_start_time_seconds", "gauge", "Start of the server, Unix time", [("", _STARTED)]),
        ("process_cpu_seconds_total", "counter", "Processor time of the server", [("", times.user + times.system)]),
    ]
    try:
        with open("/proc/self/statm", "rb") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        descriptors = len(os.listdir("/proc/self/fd"))
    except (OSError, ValueError, IndexError):
        return families
    return [
        *families,
        ("process_resident_memory_bytes", "gauge", "Memory of the server", [("", resident)]),
        ("process_open_fds", "gauge", "Open descriptors of the server", [("", descriptors)]),
    ]
