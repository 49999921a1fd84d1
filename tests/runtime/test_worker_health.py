"""The worker's own healthcheck, without a worker."""

from __future__ import annotations

import queue
import threading

from cog.worker.health import Healthcheck
from cog.worker.protocol import Check, Checked
from runtime_image import PATIENCE


def test_an_answer_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    answers: queue.Queue[Checked] = queue.Queue()
    health = Healthcheck(lambda: True, send=answers.put, limit=1e6)
    for number in range(20):
        health.ask(Check(number))
        answer = answers.get(timeout=PATIENCE)
        assert (answer.id, answer.error) == (number, None)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive(), thread
    assert answers.empty()


def test_a_late_answer_is_given_once() -> None:
    go = threading.Event()
    answers: queue.Queue[Checked] = queue.Queue()
    health = Healthcheck(lambda: go.wait(PATIENCE), send=answers.put, limit=0.01)
    before = set(threading.enumerate())
    health.ask(Check(1))
    assert "timed out after 0.01 seconds" in str(answers.get(timeout=PATIENCE).error)
    go.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    assert answers.empty()
