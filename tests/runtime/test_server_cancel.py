"""Cancels that a worker does not heed, or that come before it has the prediction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cog.server.endpoints as endpoints_module
import cog.server.service as service_module
import pytest
from cog.worker.protocol import Cancel, Done, Predict, Setup, SetupDone, Stop
from fake_worker import FakeWorker, Running, Start, starting
from runtime_image import PATIENCE, document

DETACHED = {"Prefer": "respond-async"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


def deaf(worker: FakeWorker, message: Any) -> None:
    """A worker of several slots whose predictions end only if they are told to."""
    if isinstance(message, Setup):
        worker.say(SetupDone(None, concurrency=3))
    elif isinstance(message, Predict) and message.input.get("end"):
        worker.say(Done(message.id, "succeeded"))
    elif isinstance(message, Stop):
        worker.exit(0)


def state(server: Running, name: str) -> str:
    status: str = server.client.get(f"/predictions/{name}").json()["status"]
    return status


def until(server: Running, name: str, status: str) -> None:
    watch = threading.Event()
    for _ in range(PATIENCE * 100):
        if state(server, name) == status:
            return
        watch.wait(0.01)
    raise AssertionError(state(server, name))


def test_cancels_that_several_do_not_heed_cost_the_worker_its_life(
    running: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "CANCEL_GRACE", 0.02)
    monkeypatch.setattr(service_module, "INSIST_AGAIN", 0.02)
    looked = threading.Semaphore(0)
    insist = service_module.Service._insist
    monkeypatch.setattr(service_module.Service, "_insist", lambda *given: (insist(*given), looked.release())[0])
    server = running(deaf)
    server.wait("READY")
    for name in ("a", "b"):
        server.client.put(f"/predictions/{name}", headers=DETACHED)
    server.client.post("/predictions/a/cancel")
    for _ in range(5):
        assert looked.acquire(timeout=PATIENCE), "it is looked at again and again"
    assert (state(server, "a"), state(server, "b")) == ("processing", "processing"), "the other one is worth more"
    assert server.client.put("/predictions/c", json={"input": {"end": True}}).json()["status"] == "succeeded"
    server.client.post("/predictions/b/cancel")
    until(server, "a", "canceled")
    until(server, "b", "canceled")
    health = server.wait("READY")
    assert health["worker"] == {"restarts": 1, "last_exit": "Worker ended: a canceled prediction did not end in 0.02 s"}
    assert len(server.workers) == 2


def test_a_cancel_outlives_the_worker_that_was_there_when_it_came(
    running: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun = threading.Event(), threading.Event()
    real = endpoints_module.take_files

    def slow(*given: Any, **named: Any) -> Any:
        begun.set()
        assert go.wait(PATIENCE)
        return real(*given, **named)

    def script(worker: FakeWorker, message: Any) -> None:
        if isinstance(message, Cancel):
            worker.say(Done(message.id, "canceled", iterated=True))
        elif isinstance(message, Predict) and message.input.get("crash"):
            worker.exit(1)
        else:
            deaf(worker, message)

    monkeypatch.setattr(endpoints_module, "take_files", slow)
    server = running(script, schema=document({"file": {"type": "string", "format": "uri"}, "crash": {}}))
    server.wait("READY")
    body = {"input": {"file": "data:," + "x" * 100_000}}
    uploading = threading.Thread(target=server.client.put, args=("/predictions/x",), kwargs={"json": body})
    uploading.start()
    assert begun.wait(PATIENCE)
    assert server.client.post("/predictions/x/cancel").status_code == 200
    assert server.predict({"crash": True})["status"] == "failed"
    server.wait("READY")
    go.set()
    until(server, "x", "canceled")
    uploading.join(PATIENCE)
    assert len(server.workers) == 2
