"""Requests that nobody should make, answers that no worker should give: each has an answer, and none of them is 500."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cog.server.endpoints as endpoints_module
import cog.server.recent as recent_module
import cog.server.service as service_module
import pytest
from cog.server.preferences import preferences, wait_of, wants_events
from cog.server.stream import BACKLOG_MAX, Stream
from cog.server.validation import InputSchema
from cog.worker.protocol import Check, Checked, Done, FileAt, Log, Output, Predict, Setup, SetupDone, Stop
from fake_worker import FakeWorker, Start, echo, obedient, starting
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_image import document

JSON = {"Content-Type": "application/json"}
ANYTHING: Any = {"type": "object"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"input":{"a":1e999}}', 400),
        (b'{"input":{"a":-1e999}}', 400),
        (b"\xef\xbb\xbf{}", 400),
        ('{"input":{}}'.encode("utf-16"), 400),
        (b"", 400),
        (b'{"input":{"a":"\\ud800\\u0000"}}', 200),
        (b'{"id":"\\ud800/..\\u0000"}', 200),
        (b'{"id":""}', 200),
        (b'{"context":{"\\ud800":"\\udfff"}}', 200),
        (b'{"webhook":"\\u0000\\ud800"}', 200),
        (b'{"webhook":""}', 200),
        (b'{"webhook_events_filter":[{}]}', 422),
        (b'{"webhook_events_filter":[[]]}', 422),
        (b'{"webhook_events_filter":null,"context":null,"webhook":null,"version":null}', 200),
        (b'{"version":5}', 200),
        (b'{"input":{"a":' + b"9" * 4000 + b"}}", 200),
        (b'{"input":[]}', 422),
        (b'{"input":"x"}', 422),
    ],
)
@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_bodies(running: Start, body: bytes, status: int, prefer: str) -> None:
    server = running(obedient(echo))
    answer = server.client.post("/predictions", content=body, headers={**JSON, "Prefer": prefer})
    assert answer.status_code == (202 if prefer and status == 200 else status), answer.text
    named = server.client.put("/predictions/%F0%9F%98%80%0D%0A", content=body, headers={**JSON, "Prefer": prefer})
    assert named.status_code < 500
    assert server.predict({})["status"] == "succeeded", "the server goes on"


@pytest.mark.parametrize("depth", [100, 400, 900, 920, 940, 950, 960, 970, 980, 990, 1000, 1100, 100_000])
def test_depth(running: Start, depth: int) -> None:
    server = running(obedient(lambda worker, message: worker.say(Done(message.id, "succeeded"))))
    body = b'{"input":{"a":' + b'[{"b":' * (depth // 2) + b"1" + b"}]" * (depth // 2) + b"}}"
    assert server.client.post("/predictions", content=body, headers=JSON).status_code in (200, 400)
    strict = running(obedient(echo), schema=document({"a": {"type": "integer", "enum": [1]}}))
    assert strict.client.post("/predictions", content=body, headers=JSON).status_code in (400, 422)


@pytest.mark.parametrize(
    "name", ["%00", "%ff", "a" * 5000, "%F0%9F%98%80", "%0d%0aX:%20y", "{identity}", "a%3Fb", ".."]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])
def test_names(running: Start, name: str, method: str) -> None:
    server = running(obedient(echo))
    for path in (f"/predictions/{name}", f"/predictions/{name}/cancel", f"/predictions/{name}/", f"/trainings/{name}"):
        answer = server.client.request(method, path, headers={"Prefer": "respond-async"})
        assert answer.status_code < 500, path
        assert "\n" not in answer.headers.get("location", "")


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("a%2Fb", "a/b"),
        ("a%2Fcancel", "a/cancel"),
        ("%2F", "/"),
        ("a%20b+c", "a b+c"),
        ("%25", "%"),
        ("é", "é"),
        ("%7Bidentity%7D", "{identity}"),
    ],
)
def test_names_with_anything_in_them(running: Start, path: str, identity: str) -> None:
    server = running(obedient(echo))
    answer = server.client.put(f"/predictions/{path}", headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json()["id"]) == (202, identity)
    assert server.client.get(answer.headers["location"]).json()["id"] == identity
    assert server.client.post(f"/predictions/{path}/cancel").status_code == 404
    assert server.client.get("/predictions/x/y").status_code == 404


def test_numbers_that_no_schema_can_compare(running: Start) -> None:
    properties = {
        "a": {"type": "number", "multipleOf": 0.1, "minimum": -1.5, "maximum": 1e308},
        "b": {"type": "integer", "multipleOf": 0},
    }
    server = running(obedient(echo), schema=document(properties))
    for text in ("1" + "0" * 400, "-1" + "0" * 400, "1e308", "5e-324", "0.3", "-0.0"):
        for name in properties:
            body = f'{{"input":{{"{name}":{text}}}}}'.encode()
            assert server.client.post("/predictions", content=body, headers=JSON).status_code in (200, 422), text


def test_an_answer_that_is_malformed_fails_its_prediction(running: Start) -> None:
    def answer(worker: FakeWorker, message: Predict) -> None:
        try:
            if message.input["how"] == "status":
                worker.say(Done(message.id, "wonderful"))
            elif message.input["how"] == "files":
                worker.say(Done(message.id, "succeeded", value=[], files=[vars(FileAt([7, "x"], "/x", "x", "y"))]))
            elif message.input["how"] == "gone":
                worker.say(Output(message.id, None, [vars(FileAt([], "/nowhere/x", "x", "y"))]))
                worker.say(Done(message.id, "succeeded", iterated=True))
            else:
                deep: Any = []
                for _ in range(100_000):
                    deep = [deep]
                worker.say(Done(message.id, "succeeded", deep))
        except Exception as problem:  # noqa: BLE001
            assert not isinstance(problem, AssertionError)

    for how in ("status", "files", "gone", "deep"):
        seen = running(obedient(answer)).predict({"how": how})
        assert seen["status"] == "failed", how
        assert seen["error"].startswith("Prediction failed: "), how
        assert "output" not in seen


def test_what_is_remembered_is_bounded(running: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recent_module, "COUNT_MAX", 3)
    monkeypatch.setattr(recent_module, "TEXT_MAX", 10_000)

    def answer(worker: FakeWorker, message: Predict) -> None:
        folder = Path(message.folder)
        folder.mkdir()
        (folder / "o").write_bytes(b"x")
        worker.say(
            Done(message.id, "succeeded", None, files=[vars(FileAt([], str(folder / "o"), "o.txt", "text/plain"))])
        )

    server = running(obedient(answer))
    later = {"Prefer": "respond-async"}
    for index in range(5):
        assert server.client.put(f"/predictions/p{index}", headers=later).status_code == 202
        while server.client.get(f"/predictions/p{index}").json()["status"] != "succeeded":
            pass
    known = [server.client.get(f"/predictions/p{index}").status_code for index in range(5)]
    assert known == [404, 404, 200, 200, 200]
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3, "their files go with them"
    for _ in range(2):
        assert server.client.get("/predictions/p4").json()["output"] == "data:text/plain;base64,eA=="
    assert server.client.put("/predictions/now").json()["output"] == "data:text/plain;base64,eA=="
    assert server.client.get("/predictions/now").json()["output"] is None, "somebody has it: its file is gone"
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2

    def long(worker: FakeWorker, message: Predict) -> None:
        worker.say(Log(message.id, "stdout", "x" * 8_000))
        worker.say(Done(message.id, "succeeded"))

    server = running(obedient(long))
    for index in range(3):
        server.client.put(f"/predictions/q{index}")
    assert [server.client.get(f"/predictions/q{index}").status_code for index in range(3)] == [404, 404, 200]


def test_a_healthcheck_that_never_answers(running: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "CHECK_LIMIT", 0.1)
    heard: list[int] = []

    def script(worker: FakeWorker, message: Any) -> None:
        if isinstance(message, Setup):
            worker.say(SetupDone(None, healthcheck=True))
        elif isinstance(message, Check):
            heard.append(message.id)
            if len(heard) > 1:
                worker.say(Checked(message.id, None))
        elif isinstance(message, Stop):
            worker.exit(0)

    server = running(script)
    health = server.wait("UNHEALTHY")
    assert health["user_healthcheck_error"] == "Healthcheck failed: the worker did not answer in time"
    assert server.client.get("/health-check").json()["status"] == "READY"


def test_a_healthcheck_of_a_worker_that_dies(running: Start) -> None:
    workers: list[FakeWorker] = []

    def script(worker: FakeWorker, message: Any) -> None:
        if isinstance(message, Setup) and not workers:
            workers.append(worker)
            worker.say(SetupDone(None, healthcheck=True))
        elif isinstance(message, Check):
            worker.exit(1)
        elif isinstance(message, Stop):
            worker.exit(0)

    health = running(script).client.get("/health-check").json()
    assert health["status"] == "STARTING"
    assert health["worker"] == {"restarts": 1, "last_exit": "Worker crashed: exit code 1"}


def test_settings_from_hostile_documents() -> None:
    for schema in (
        {"Input": {"properties": {"a": True, "b": None, "c": {"$ref": "#/nowhere"}, "d": {"items": 5}}}},
        {"Input": {"properties": {}, "required": ["x"]}},
        {"Input": {}},
    ):
        made = InputSchema({"components": {"schemas": schema}})
        made.problems({"a": 1, "b": 2, "c": 3, "d": []})
        assert list(made.files({"a": "data:,x", "d": ["data:,x"]})) == []


def test_a_follower_that_does_not_read_is_told(running: Start) -> None:
    stream = Stream(history=0, completed=lambda: [b"{}"])

    async def run() -> list[bytes]:
        follower = stream.subscribe()
        for index in range(BACKLOG_MAX + 5):
            stream.publish("output", {"chunk": "x", "index": index})
        stream.publish("completed", None)
        found: list[bytes] = []
        while (parts := await follower.next()) is not None:
            found.append(b"".join(part for part in parts if isinstance(part, bytes)))
        return found

    import asyncio

    found = asyncio.run(run())
    assert len(found) == BACKLOG_MAX + 1
    assert found[-1] == b'event: error\ndata: {"error":"SSE stream lagged; events were dropped","skipped":6}\n\n'


def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr("cog.server.stream.KEEP_ALIVE", 0.02)

    async def run() -> list[Any]:
        stream = Stream(history=10, completed=lambda: [b'{"status":"succeeded"}'])
        follower = stream.subscribe()
        first = await follower.next()
        stream.publish("completed", None)
        return [first, await follower.next(), await follower.next()]

    assert asyncio.run(run()) == [
        [b": keep-alive\n\n"], [b'event: completed\ndata: {"status":"succeeded"}\n\n'], None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("respond-async", {"respond-async": ""}),
        ("respond-async, wait=5", {"respond-async": "", "wait": "5"}),
        ("Wait = 5 ; x=1 , RESPOND-ASYNC", {"wait": "5", "respond-async": ""}),
        ('a="x, respond-async, \\"y"; b=";,", c', {"a": 'x, respond-async, "y', "c": ""}),
        ("wait=1, wait=2", {"wait": "1"}),
        ("", {}),
        (",,=,;,x", {"x": ""}),
        ('a="unfinished, b', {"b": ""}),
    ],
)
def test_preferences(header: str, expected: dict[str, str]) -> None:
    assert preferences(header) == expected


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=' ,;="\\aw\x00é', max_size=40))
def test_any_header_can_be_read(header: str) -> None:
    found = preferences(header)
    assert wait_of({**found, "wait": header}) is None or header.isdigit()
    assert not wants_events(header)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.5", True),
        ("text/event-stream; q=0", False),
        ("text/event-stream;q=0.000", False),
        ("*/*", False),
        ("text/event-streams", False),
        ("application/json", False),
    ],
)
def test_accept(accept: str, wanted: bool) -> None:
    assert wants_events(accept) is wanted


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("0", 0), ("x", None), ("-1", None), ("9" * 50, 86_400)])
def test_wait(text: str, seconds: float | None) -> None:
    assert wait_of({"wait": text}) == seconds


def test_an_input_that_cannot_be_stored(running: Start, tmp_path: Path) -> None:
    server = running(obedient(echo), schema=document({"file": {"type": "string", "format": "uri"}}))
    server.wait("READY")
    (tmp_path / "1").write_text("in the way of the folder of the first prediction")
    answer = server.client.post("/predictions", json={"input": {"file": "data:,x"}})
    assert (answer.status_code, answer.json()) == (
        503, {"error": "The input cannot be stored: File exists", "status": "failed"},
    )  # fmt: skip
    assert server.client.post("/predictions", json={"input": {"file": "data:,x"}}).json()["status"] == "succeeded"
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_an_id_is_taken_before_its_files_are(running: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large inputs are written to disk in a thread; whoever asks meanwhile for the same id runs nothing twice."""
    go, begun = threading.Event(), threading.Event()
    real = endpoints_module.take_files

    def slow(*given: Any, **named: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return real(*given, **named)

    monkeypatch.setattr(endpoints_module, "take_files", slow)
    schema = document({"file": {"type": "string", "format": "uri"}})
    server = running(obedient(echo), schema=schema)
    server.wait("READY")
    body = {"input": {"file": "data:," + "x" * 100_000}}
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(server.client.put("/predictions/a", json=body)))
    thread.start()
    assert begun.wait(60)
    again = server.client.put("/predictions/a", json=body)
    assert (again.status_code, again.json()["status"]) == (202, "starting")
    assert server.client.post("/predictions", json={"id": "a", **body}).status_code == 409
    go.set()
    thread.join(60)
    assert answers[0].json()["status"] == "succeeded"
    assert sum(isinstance(message, Predict) for message in server.workers[0].received) == 1


def test_the_stream_of_a_prediction_whose_files_are_gone(running: Start) -> None:
    def answer(worker: FakeWorker, message: Predict) -> None:
        folder = Path(message.folder)
        folder.mkdir()
        (folder / "o").write_bytes(b"x")
        worker.say(Output(message.id, None, [vars(FileAt([], str(folder / "o"), "o.txt", "text/plain"))]))
        worker.say(Done(message.id, "succeeded", iterated=True))

    schema = document({})
    schema["paths"] = {"/predictions": {"post": {"x-cog-streaming": True}}}
    server = running(obedient(answer), schema=schema)
    events = {"Accept": "text/event-stream"}
    seen = server.client.put("/predictions/a", headers=events).text
    assert 'event: output\ndata: {"chunk":"data:text/plain;base64,eA==","index":0}\n\n' in seen
    assert '"output":["data:text/plain;base64,eA=="]' in seen.split("event: completed")[1]
    assert server.client.get("/predictions/a", headers=events).status_code == 410
    assert server.client.get("/predictions/a").json()["output"] == [None]


def test_many_at_the_same_time(running: Start) -> None:
    """Each of many clients gets an answer of its own, or is refused."""
    server = running(obedient(lambda worker, message: echo(worker, message)))
    answers: list[Any] = []

    def ask(index: int) -> None:
        answer = server.client.post("/predictions", json={"input": {"n": index}})
        answers.append((index, answer.status_code, answer.json()))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 40
    assert {status for _, status, _ in answers} <= {200, 409}
    assert all(answer["output"] == {"n": index} for index, status, answer in answers if status == 200)
    assert json.dumps(server.client.get("/health-check").json()["status"]) == '"READY"'
