"""What a client's webhook is told of its predictions, over real sockets."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cog.server.client as client_module
import cog.server.webhooks as webhooks_module
import pytest
import requests
from cog.worker.protocol import Log, Predict
from fake_worker import FakeWorker, echo, obedient, starting
from gated_model import MODEL, gated, put, schema
from runtime_image import PATIENCE, Server, serving
from webhook_receiver import Receiver, receiving


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    with gated(tmp_path_factory.mktemp("gated")) as made:
        yield made


@pytest.fixture
def server(image: tuple[Server, Path]) -> Server:
    return image[0]


@pytest.fixture
def project(image: tuple[Server, Path]) -> Path:
    return image[1]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_webhooks(server: Server, receiver: Receiver, project: Path) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    answer = put(
        server, "w1", {"input": {"items": 2, "gate": "w1"}, "webhook": f"{receiver.url}/hook?x=1"},
        Prefer="respond-async", **trace,
    )  # fmt: skip
    assert answer.status_code == 202
    receiver.wait(lambda items: any(item.body.get("output") == ["t0"] for item in items))
    (project / "w1-0").touch()
    receiver.wait(lambda items: any(item.body.get("output") == ["t0", "t1"] for item in items))
    (project / "w1-1").touch()
    items = receiver.until_completed()
    first, *_, last = (item.body for item in items)
    assert (first["id"], first["status"], first["logs"], first["metrics"]) == ("w1", "processing", "", {})
    assert (last["status"], last["output"], last["logs"]) == ("succeeded", ["t0", "t1"], "step 0\nstep 1\n")
    assert "input" not in last
    outputs = [len(item.body.get("output", [])) for item in items]
    assert outputs == sorted(outputs), "in order"
    assert all(item.path == "/hook?x=1" for item in items)
    head = items[0].headers
    assert head["Content-Type"] == "application/json"
    assert head["Authorization"] == "Bearer secret"
    assert head["User-Agent"].startswith("cogsmith/")
    assert (head["traceparent"], head["tracestate"]) == tuple(trace.values())
    assert len({item.connection for item in items}) == 1, "the connection is kept"


def test_webhooks_of_quick_predictions_are_not_many(server: Server, receiver: Receiver) -> None:
    answer = server.post("/predictions", json={"input": {"items": 500}, "webhook": receiver.url})
    assert answer.json()["status"] == "succeeded", "synchronous predictions tell their webhooks, too"
    items = receiver.until_completed()
    assert [item.body["status"] for item in items][-1] == "succeeded"
    assert len(items) <= 3 + int((items[-1].at - items[0].at) / 0.2), "output and logs at most every 0.2 s"


@pytest.mark.parametrize(
    ("wanted", "statuses"),
    [
        (["completed"], ["succeeded"]),
        (["start", "completed"], ["processing", "succeeded"]),
        (["start"], ["processing"]),
    ],
)
def test_the_filter_of_webhooks(server: Server, receiver: Receiver, wanted: list[str], statuses: list[str]) -> None:
    body = {"input": {"items": 1}, "webhook": receiver.url, "webhook_events_filter": wanted}
    assert server.post("/predictions", json=body).json()["status"] == "succeeded"
    receiver.wait(lambda items: len(items) >= len(statuses))
    body = {"input": {}, "webhook": f"{receiver.url}/none", "webhook_events_filter": []}
    assert server.post("/predictions", json=body).json()["status"] == "succeeded"
    server.post("/predictions", json={"input": {}, "webhook": f"{receiver.url}/end"})
    items = receiver.wait(lambda items: any(item.path == "/end" for item in items))
    assert [item.body["status"] for item in items if item.path == "/"] == statuses
    assert not [item for item in items if item.path == "/none"]


def test_the_output_alone(server: Server, receiver: Receiver) -> None:
    body = {"input": {"items": 3}, "webhook": receiver.url, "webhook_events_filter": ["output"]}
    server.post("/predictions", json=body)
    # Nothing of it is lost for want of a `completed`.
    receiver.wait(lambda items: bool(items) and items[-1].body.get("output") == ["t0", "t1", "t2"])


def test_completed_is_sent_again(server: Server, receiver: Receiver) -> None:
    receiver.answer = lambda n: (503 if n < 3 else 200, {})
    body = {"input": {"items": 0}, "webhook": receiver.url, "webhook_events_filter": ["completed"]}
    server.post("/predictions", json=body)
    items = receiver.wait(lambda items: len(items) >= 3)
    assert items[0].body == items[1].body == items[2].body
    assert items[1].at - items[0].at > 0.09
    assert items[2].at - items[1].at > 0.18, "with growing pauses"


@pytest.mark.parametrize(
    "url", ["nonsense", "http://", "ftp://x/y", "http://[::1", "http://127.0.0.1:1/", "http://a b/"]
)
def test_a_webhook_that_cannot_be_reached_harms_nobody(server: Server, url: str) -> None:
    answer = server.post("/predictions", json={"input": {"items": 1}, "webhook": url})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def test_a_refused_webhook_is_not_sent_again(server: Server, receiver: Receiver) -> None:
    receiver.answer = lambda n: (404, {})
    body = {"id": "gone", "input": {}, "webhook": receiver.url, "webhook_events_filter": ["completed"]}
    server.post("/predictions", json=body)
    server.wait_for_output("the webhook of prediction gone was not delivered: status 404")
    assert len(receiver.received) == 1


def test_a_redirected_webhook(server: Server, receiver: Receiver) -> None:
    receiver.answer = lambda n: (307, {"Location": "/there"}) if n == 1 else (200, {})
    body = {"input": {}, "webhook": receiver.url, "webhook_events_filter": ["completed"]}
    server.post("/predictions", json=body)
    items = receiver.wait(lambda items: len(items) >= 2)
    assert [item.path for item in items] == ["/", "/there"]
    assert items[0].body == items[1].body


def test_the_end_waits_for_what_runs_and_its_webhooks(tmp_path: Path, receiver: Receiver) -> None:
    with serving(tmp_path, MODEL, schema=schema()) as server:
        receiver.answer = lambda n: (503 if n < 4 else 200, {})
        body = {"input": {"gate": "end", "items": 1}, "webhook": receiver.url, "webhook_events_filter": ["completed"]}
        assert put(server, "x", body, Prefer="respond-async").status_code == 202
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        with pytest.raises(requests.ConnectionError):
            while time.monotonic() < deadline:
                server.get("/")
                time.sleep(0.02)
        threading.Timer(0.3, (tmp_path / "src/end-0").touch).start()
        assert server.process.wait(PATIENCE) == 0
        assert [item.body["status"] for item in receiver.received] == ["succeeded"] * 4
        assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("events", [["start", "completed"], ["logs", "completed"]])
def test_the_end_does_not_wait_for_a_request_that_nobody_answers(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, events: list[str]
) -> None:
    monkeypatch.setattr(client_module, "TIMEOUT", 1e6)
    monkeypatch.setattr(webhooks_module, "HANGING", 0.05)
    never = threading.Event()

    def answer(number: int) -> tuple[int, dict[str, str]]:
        if number == 1:
            never.wait(2 * PATIENCE)
        return 200, {}

    def slowly(worker: FakeWorker, message: Predict) -> None:
        def go_on() -> None:
            echo(worker, message)

        worker.say(Log(message.id, "stdout", "begun\n"))
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=lambda: (receiver.wait(lambda items: bool(items)), loop.call_soon_threadsafe(go_on))
        ).start()

    receiver.answer = answer
    try:
        with starting(tmp_path) as start:
            body = {"input": {}, "webhook": receiver.url, "webhook_events_filter": events}
            assert start(obedient(slowly)).client.post("/predictions", json=body).json()["status"] == "succeeded"
            items = receiver.until_completed()
        assert [item.body["status"] for item in items] == ["processing", "succeeded"]
    finally:
        never.set()
