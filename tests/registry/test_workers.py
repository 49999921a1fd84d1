"""Work in threads: all of it, the first failure, and an interrupt that does not wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from small_images import add_image
from spec_registry import SpecRegistry
from test_push import noise

from builder.registry.workers import in_parallel
from builder.store import Store
from tests.conftest import ROOT


@pytest.mark.parametrize("count", [0, 1, 7])
def test_all_is_done(count: int) -> None:
    done: list[int] = []
    in_parallel(done.append, range(count), parallel=3, stop=threading.Event())
    assert sorted(done) == list(range(count))


def test_the_first_failure_stops_the_others() -> None:
    stop = threading.Event()

    def work(item: int) -> None:
        if item == 1:
            raise ValueError("the first")
        if not stop.wait(30):
            raise AssertionError("it was not told")
        raise ValueError("another")

    with pytest.raises(ValueError, match="the first"):
        in_parallel(work, range(9), parallel=3, stop=stop)
    assert stop.is_set()


def test_ctrl_c_does_not_wait_for_a_stalled_registry(tmp_path: Path, ordinary_signals: Callable[[], None]) -> None:
    registry, release, held = SpecRegistry(), threading.Event(), threading.Event()

    def hold(received: int) -> None:
        held.set()
        release.wait(120)

    registry.hold = hold
    with Store.open(tmp_path / "cogsmith") as store:
        add_image(store, "x", [noise(store, 30_000_000)])
    argv = [sys.executable, "-m", "builder.cli", "push", "--image", "x", f"{registry.host}/x:v1"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True, preexec_fn=ordinary_signals)
    try:
        assert held.wait(60)
        child.send_signal(signal.SIGINT)
        assert child.wait(50) == 130  # the registry's patience, and ours with it, is 60 seconds
    finally:
        child.kill()
        _, err = child.communicate()
        release.set()
        registry.close()
    assert "Traceback" not in err


@pytest.fixture
def ordinary_signals() -> Callable[[], None]:
    """For a child of a shell that has its background jobs ignore interrupts."""

    def reset() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return reset
