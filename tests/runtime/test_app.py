"""The application in process, with a worker that does what the test says."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cog.server.service as service_module
import cog.server.supervisor as supervisor_module
import pytest
from cog.server.console import Console
from cog.server.requests import PredictionRequest
from cog.server.settings import Settings, UsageError, parse
from cog.worker.protocol import (
    PROTOCOL,
    Cancel,
    Done,
    FileAt,
    Hello,
    Log,
    Metric,
    Output,
    Predict,
    Setup,
    SetupDone,
    Stop,
)
from fake_worker import FakeWorker, Running, Start, echo, obedient, starting
from runtime_image import document

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


def test_a_prediction(running: Callable[..., Running]) -> None:
    server = running(obedient(echo))
    assert server.wait("READY")["setup"]["logs"] == "ready soon\n"
    body = json.dumps({"input": {"a": 2**70, "b": 0.1, "c": "é\ud83d"}}).encode()
    answer = server.client.post("/predictions", content=body, headers=JSON).json()
    assert answer["output"] == {"a": 2**70, "b": 0.1, "c": "é\ud83d"}
    assert answer["metrics"] == {"predict_time": 0.5}
    assert answer["id"].startswith("pred_")


def test_what_a_worker_reports_is_what_a_client_sees(running: Callable[..., Running]) -> None:
    def answer(worker: FakeWorker, message: Predict) -> None:
        worker.say(Log(message.id, "stdout", "one\n"))
        worker.text("stderr", "two\n")
        for name, value, mode in [
            ("timing.a", 0.5, "replace"), ("n", 1, "incr"), ("n", 2, "incr"), ("l", "x", "append"),
            ("gone", 1, "replace"), ("gone", None, "replace"), ("timing.b", 1, "replace"),
        ]:  # fmt: skip
            worker.say(Metric(message.id, name, value, mode))
        worker.say(Output(message.id, "a", []))
        worker.say(Output(message.id, "b", []))
        worker.say(Done(message.id, "failed", iterated=True, error="Prediction failed: ValueError: mid", seconds=1.0))
        worker.say(Output(message.id, "too late", []))

    server = running(obedient(answer))
    seen = server.predict({})
    assert seen["logs"] == "one\ntwo\n"
    assert seen["metrics"] == {"timing": {"a": 0.5, "b": 1}, "n": 3, "l": ["x"], "predict_time": 1.0}
    assert (seen["status"], seen["output"]) == ("failed", ["a", "b"])
    assert seen["error"] == "Prediction failed: ValueError: mid"


def test_files_are_put_into_the_answer_and_removed(running: Callable[..., Running]) -> None:
    data = bytes(range(256)) * 5000 + b"x"

    def answer(worker: FakeWorker, message: Predict) -> None:
        folder = Path(message.folder)
        folder.mkdir()
        (folder / "o").write_bytes(data)
        files = [vars(FileAt(["a", 1], str(folder / "o"), "o.png", "image/png"))]
        worker.say(Done(message.id, "succeeded", value={"a": ["x", None], "b": "file-0"}, files=files))

    server = running(obedient(answer))
    response = server.client.post("/predictions", json={"input": {}})
    assert int(response.headers["content-length"]) == len(response.content)
    output = response.json()["output"]
    assert (output["a"][0], output["b"]) == ("x", "file-0")
    import base64

    assert output["a"][1] == "data:image/png;base64," + base64.b64encode(data).decode()
    assert [path for path in server.folder.iterdir() if path.is_dir()] == []


def test_data_urls_reach_the_worker_as_files(running: Callable[..., Running]) -> None:
    file = {"type": "string", "format": "uri"}
    seen: list[Any] = []

    def answer(worker: FakeWorker, message: Predict) -> None:
        seen.append((message.input, [(one["at"], Path(one["path"]).read_bytes()) for one in message.files]))
        worker.say(Done(message.id, "succeeded"))

    schema = document({"a": file, "many": {"type": "array", "items": file}, "text": {"type": "string"}})
    server = running(obedient(answer), schema=schema)
    large = "A" * 4_000_000
    given = {"a": f"data:;base64,{large}", "many": ["http://x/y", "data:,z", "data:bad"], "text": "data:,t"}
    assert server.predict(given)["status"] == "succeeded"
    assert seen == [
        (
            {"a": None, "many": ["http://x/y", None, "data:bad"], "text": "data:,t"},
            [(["a"], bytes(3_000_000)), (["many", 1], b"z")],
        )
    ]
    assert [path for path in server.folder.iterdir() if path.is_dir()] == []


def test_what_was_stored_as_a_file_does_not_stay_in_memory(running: Callable[..., Running]) -> None:
    url = "data:;base64," + "A" * 99_996
    requests: list[Any] = []
    holding: list[Any] = []

    def answer(worker: FakeWorker, message: Predict) -> None:
        requests.extend(one for one in gc.get_objects() if type(one) is PredictionRequest)
        holding.extend(one for one in requests if one.input and url in one.input.values())
        echo(worker, message)

    server = running(obedient(answer), schema=document({"a": {"type": "string", "format": "uri"}}))
    assert server.predict({"a": url})["output"] == {"a": None}
    assert requests
    assert holding == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"input":{}}', {"Content-Type": "application/vnd.x+json; charset=utf-8"}, 200),
        (b"not even read", {}, 200),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b'{"input":{"a":NaN}}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b'{"input":{"a":' + b"9" * 5000 + b"}}", JSON, 400),
        (b"[]", JSON, 422),
        (b'{"input":{},"webhook":5}', JSON, 422),
        (b'{"input":{},"id":5}', JSON, 422),
        (b'{"input":{},"context":{"a":1}}', JSON, 422),
        (b'{"input":{},"webhook_events_filter":["nothing"]}', JSON, 422),
        (b'{"input":5}', JSON, 422),
        (b'{"input":null,"id":null,"unknown":1}', JSON, 200),
    ],
)
def test_bodies(running: Callable[..., Running], body: bytes, headers: dict[str, str], status: int) -> None:
    server = running(obedient(echo))
    assert server.client.post("/predictions", content=body, headers=headers).status_code == status
    assert server.predict({})["status"] == "succeeded", "the server goes on"


def test_a_body_that_is_too_long(running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cog.server.requests.BODY_MAX", 1000)
    server = running(obedient(echo))
    assert server.client.post("/predictions", content=b" " * 1001, headers=JSON).status_code == 413
    pieces = (b" " * 100 for _ in range(20))
    assert server.client.post("/predictions", content=pieces, headers=JSON).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("GET", "/docs/", 404), ("GET", "/predictions/", 404), ("GET", "/predictions", 405),
        ("PUT", "/predictions", 405), ("POST", "/health-check", 405), ("POST", "/predictions/x/cancel", 404),
    ],
)  # fmt: skip
def test_paths_and_methods(running: Callable[..., Running], method: str, path: str, status: int) -> None:
    answer = running(obedient(echo)).client.request(method, path)
    assert answer.status_code == status
    assert answer.content in (b"", b"{}")


def test_without_a_schema(running: Callable[..., Running]) -> None:
    server = running(obedient(echo))
    answer = server.client.get("/openapi.json")
    assert (answer.status_code, answer.json()) == (503, {"error": "OpenAPI schema not available"})
    assert server.predict({"anything": 1})["output"] == {"anything": 1}


def test_the_id_of_the_body_must_be_that_of_the_path(running: Callable[..., Running]) -> None:
    server = running(obedient(echo))
    answer = server.client.put("/predictions/a", json={"id": "b", "input": {}})
    assert answer.status_code == 422
    assert answer.json()["detail"] == [
        {
            "loc": ["body", "id"],
            "msg": "prediction ID must match the ID supplied in the URL",
            "type": "value_error",
        }
    ]
    assert server.client.put("/predictions/a", json={"id": "a", "input": {}}).json()["id"] == "a"


def test_checks_come_in_order(running: Callable[..., Running]) -> None:
    """A malformed input is told even before the model is ready."""

    def never(worker: FakeWorker, message: Any) -> None:
        if isinstance(message, Stop):
            worker.exit(0)

    server = running(never, schema=document({"a": {"type": "string"}}, ("a",)))
    assert server.client.get("/health-check").json()["status"] == "STARTING"
    assert server.client.post("/predictions", json={"input": {}}).status_code == 422
    refused = server.client.post("/predictions", json={"input": {"a": "x"}})
    assert refused.status_code == 503
    assert refused.json()["status"] == "failed"


def test_shutdown(running: Callable[..., Running]) -> None:
    server = running(obedient(echo))
    assert not server.stopped.is_set()
    assert server.client.post("/shutdown").json() == {}
    assert server.stopped.is_set()


def test_a_worker_that_speaks_another_protocol_is_not_used(running: Callable[..., Running]) -> None:
    def script(worker: FakeWorker, message: Any) -> None:
        if isinstance(message, Setup):
            worker.say(Hello(PROTOCOL + 1, "3.11.0", "9"))

    assert running(script).wait("SETUP_FAILED")


def test_a_canceled_prediction_that_does_not_end_costs_the_worker_its_life(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "CANCEL_GRACE", 0.05)
    asked = threading.Event()
    server = running(obedient(lambda worker, message: asked.set()))
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(server.client.put("/predictions/x", json={"input": {}})))
    thread.start()
    asked.wait(30)
    assert server.client.post("/predictions/x/cancel").status_code == 200
    thread.join(30)
    assert answers[0].json()["status"] == "canceled"
    assert [type(message) for message in server.workers[0].received] == [Setup, Predict, Cancel]
    server.wait("READY")
    assert len(server.workers) == 2


def test_after_a_crash_setup_is_tried_again_and_in_the_end_given_up(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "BACK_OFF", (0.0, 0.01))
    workers: list[FakeWorker] = []

    def script(worker: FakeWorker, message: Any) -> None:
        if isinstance(message, Setup):
            workers.append(worker)
            first = len(workers) == 1
            worker.say(SetupDone(None if first else "RuntimeError: memory is gone"))
            if not first:
                worker.exit(0)
        elif isinstance(message, Predict):
            worker.exit(-11)

    server = running(script)
    assert server.predict({})["error"] == "Worker crashed: killed by signal 11 (SIGSEGV)"
    health = server.wait("DEFUNCT")
    assert health["setup"]["status"] == "failed"
    assert health["setup"]["logs"] == "Setup failed: RuntimeError: memory is gone\n"
    assert len(workers) == 1 + supervisor_module.SETUP_TRIES
    assert server.client.post("/predictions", json={"input": {}}).status_code == 503


def test_a_crash_that_passes_is_forgotten(running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "BACK_OFF", (0.0, 0.0))

    def answer(worker: FakeWorker, message: Predict) -> None:
        if message.input.get("crash"):
            worker.exit(1)
        else:
            echo(worker, message)

    server = running(obedient(answer))
    for _ in range(8):
        assert server.predict({"crash": True})["error"] == "Worker crashed: exit code 1"
        server.wait("READY")
        assert server.predict({})["status"] == "succeeded"
    assert len(server.workers) == 9


def test_a_worker_that_cannot_be_started_is_tried_again(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "BACK_OFF", (0.0, 0.01))
    refused = iter([OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))] * 2)
    crash = obedient(lambda worker, message: worker.exit(1) if message.input else echo(worker, message))
    server = running(crash, refused=refused)
    assert server.predict({"crash": True})["error"] == "Worker crashed: exit code 1"
    server.wait("READY")
    assert server.predict({})["status"] == "succeeded"
    assert (len(server.workers), list(refused)) == (2, [])


def test_nothing_is_given_to_a_worker_that_is_as_good_as_dead(running: Callable[..., Running]) -> None:
    server = running(obedient(echo))
    server.wait("READY")
    server.workers[0].gone = True
    assert server.client.get("/health-check").json()["status"] == "STARTING"
    assert server.client.post("/predictions", json={"input": {}}).status_code == 503
    assert [type(message) for message in server.workers[0].received] == [Setup]


def test_a_worker_that_can_never_be_started_is_given_up(
    running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "BACK_OFF", (0.0, 0.01))
    refused = itertools.repeat(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    server = running(obedient(lambda worker, message: worker.exit(1)), refused=refused)
    server.predict({})
    logs = server.wait("DEFUNCT")["setup"]["logs"]
    assert logs == "Setup failed: Worker cannot be started: [Errno 12] Cannot allocate memory\n"


def test_metrics_that_do_not_go_together_are_replaced(running: Callable[..., Running]) -> None:
    def answer(worker: FakeWorker, message: Predict) -> None:
        for name, value, mode in [
            ("t.x", 1, "replace"), ("t", 1, "incr"), ("t", 2, "incr"), ("list.x", 1, "replace"), ("list", 1, "append"),
            ("list", 2, "append"), ("back", 1, "incr"), ("back.x", 1, "incr"), ("text", "a", "replace"),
            ("text", 1, "incr"), ("large", 1e308, "incr"), ("large", 1e308, "incr"), ("huge", 10**400, "incr"),
            ("huge", 0.5, "incr"), ("flag", True, "replace"), ("flag", 1, "incr"), ("none.x", None, "replace"),
        ]:  # fmt: skip
            worker.say(Metric(message.id, name, value, mode))
        worker.say(Done(message.id, "succeeded"))

    server = running(obedient(answer))
    assert server.predict({})["metrics"] == {
        "t": 3, "list": [1, 2], "back": {"x": 1}, "text": 1, "large": 1e308, "huge": 0.5, "flag": 1, "none": {},
    }  # fmt: skip
    server.wait("READY")


def test_the_level_of_the_servers_own_lines(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(level="warning")
    console.say("not shown")
    console.say("a warning", level="warning")
    console.say("an error", level="error")
    console.pass_on("stderr", "the model's\n")
    console.close(timeout=30)
    assert capfd.readouterr().err == "[cogsmith] a warning\n[cogsmith] an error\nthe model's\n"


REF = {"COG_PREDICT_TYPE_STUB": "run.py:Runner"}


def test_settings() -> None:
    assert parse([], environment=REF) == Settings(ref="run.py:Runner")
    given = {**REF, "PORT": "0", "COG_SETUP_TIMEOUT": "5", "COG_MAX_CONCURRENCY": "3", "KUBERNETES_SERVICE_HOST": "k"}
    argv = ["--host", "::", "--threads", "4", "--await-explicit-shutdown", "false"]
    assert parse(argv, environment=given) == Settings(
        ref="run.py:Runner", host="::", port=0, setup_timeout=5, concurrency=3, kubernetes=True
    )
    assert parse(["--await-explicit-shutdown", "true"], environment=REF).await_explicit_shutdown
    assert parse([], environment={**REF, "COG_MAX_CONCURRENCY": "many"}).concurrency == 1
    levels = {"": "info", "debug": "debug", "WARN": "warning", "warning": "warning", "error": "error", "loud": "info"}
    assert {text: parse([], environment={**REF, "COG_LOG_LEVEL": text}).log_level for text in levels} == levels
    limits = {"1.5": 1.5, "5": 5, "0": None, "-1": None, "": None, "many": None, "nan": None, "inf": None, "1e10": None}
    assert {text: parse([], environment={**REF, "COG_SETUP_TIMEOUT": text}).setup_timeout for text in limits} == limits
    train = parse(["--x-mode", "train"], environment={"COG_TRAIN_TYPE_STUB": "train.py:train"})
    assert (train.mode, train.ref) == ("train", "train.py:train")


@pytest.mark.parametrize(
    ("argv", "environment", "error"),
    [
        ([], {}, "COG_PREDICT_TYPE_STUB environment variable is not set"),
        (["--x-mode", "train"], REF, "COG_TRAIN_TYPE_STUB environment variable is not set"),
        ([], {**REF, "PORT": "http"}, "PORT must be a number from 0 to 65535, not 'http'"),
        ([], {**REF, "PORT": "70000"}, "PORT must be a number"),
        ([], {**REF, "PORT": "-1"}, "PORT must be a number"),
    ],
)
def test_settings_that_are_wrong(argv: list[str], environment: dict[str, str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        parse(argv, environment=environment)
