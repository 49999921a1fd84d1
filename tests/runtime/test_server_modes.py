"""How predictions are asked for and answered over a real socket: at once, later, again, as events; and trainings."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from gated_model import MODEL, ended, gated, put, schema, until
from runtime_image import PATIENCE, Server, document, serving


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


def events(answer: requests.Response) -> list[tuple[str, Any]]:
    """The events of a whole stream."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    found = []
    for block in answer.text.split("\n\n"):
        if block and not block.startswith(":"):
            first, second = block.split("\n")
            found.append((first.removeprefix("event: "), json.loads(second.removeprefix("data: "))))
    return found


def test_respond_async(server: Server, project: Path) -> None:
    answer = put(server, "later", {"gate": "later", "items": 1, "token": "hush"}, Prefer="respond-async")
    assert answer.status_code == 202
    assert (answer.json()["id"], answer.json()["status"]) == ("later", "starting")
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == "/predictions/later"
    again = put(server, "later", {"items": 3})
    assert again.status_code == 202, "it is not run twice"
    assert again.json()["status"] == "processing"
    assert again.json()["input"] == {"gate": "later", "items": 1, "token": "**********"}
    (project / "later-0").touch()
    state = ended(server, "later")
    assert (state["status"], state["output"], state["logs"]) == ("succeeded", ["t0"], "step 0\n")
    assert state["metrics"]["i"] == 0
    assert state["created_at"] <= state["started_at"] <= state["completed_at"]
    assert len(state["version"]) == 64
    rerun = put(server, "later", {"items": 0})
    assert (rerun.status_code, rerun.json()["output"]) == (200, []), "an id that has ended may be used again"


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("respond-async", 202),
        ("Respond-Async", 202),
        ("respond-async, wait=0", 202),
        ('foo; bar="a,b", respond-async', 202),
        ("respond-async, wait=60", 200),
        ("wait=60, respond-async", 200),
        ("wait=60", 200),
        ("return=minimal", 200),
        ('foo="respond-async"', 200),
        ("", 200),
        (",,;=,", 200),
    ],
)
def test_prefer(server: Server, prefer: str, status: int) -> None:
    answer = put(server, "prefer", {"items": 1}, Prefer=prefer)
    assert answer.status_code == status, answer.text
    assert ended(server, "prefer")["status"] == "succeeded"


def test_a_wait_that_is_too_short(server: Server, project: Path) -> None:
    for seconds in (1, 4, 16):  # on a busy machine the first item takes a while
        name = f"short{seconds}"
        answer = put(server, name, {"gate": name, "items": 1}, Prefer=f"respond-async, wait={seconds}")
        assert (answer.status_code, answer.json()["status"]) == (202, "processing")
        assert answer.headers["preference-applied"] == f"respond-async, wait={seconds}"
        (project / f"{name}-0").touch()
        assert ended(server, name)["status"] == "succeeded"
        if "output" in answer.json():
            break
    assert answer.json()["output"] == ["t0"]


def test_an_id_that_runs_is_not_taken_twice(server: Server) -> None:
    put(server, "twice", {"gate": "twice"}, Prefer="respond-async")
    until(server, "twice", output=["t0"], logs="step 0\n")
    answer = server.post("/predictions", json={"id": "twice", "input": {}})
    assert (answer.status_code, answer.json()["status"]) == (409, "failed")
    assert server.post("/predictions/twice/cancel").status_code == 200
    assert server.post("/predictions/twice/cancel").status_code in (200, 404)
    state = ended(server, "twice")
    assert (state["status"], state["output"], state["logs"]) == ("canceled", ["t0"], "step 0\ncanceled\n")
    assert server.post("/predictions/twice/cancel").status_code == 404


def test_unknown(server: Server) -> None:
    answer = server.get("/predictions/nobody")
    assert (answer.status_code, answer.json()) == (404, {"error": "Prediction not found"})
    assert server.get("/trainings/nobody").json() == {"error": "Training not found"}


def test_events(server: Server) -> None:
    with requests.post(
        f"{server.url}/predictions",
        json={"id": "s1", "input": {"items": 2}},
        headers={"Accept": "application/json;q=0.5, text/event-stream"},
        timeout=PATIENCE,
    ) as answer:
        found = events(answer)
    assert found[0] == ("start", {"id": "s1", "status": "processing"})
    assert [data for kind, data in found if kind == "output"] == [
        {"chunk": "t0", "index": 0}, {"chunk": "t1", "index": 1},
    ]  # fmt: skip
    assert [data for kind, data in found if kind == "log"] == [
        {"data": "step 0\n", "source": "stdout"}, {"data": "step 1\n", "source": "stdout"},
    ]  # fmt: skip
    assert ("metric", {"mode": "replace", "name": "i", "value": 1}) in found
    kind, last = found[-1]
    assert kind == "completed"
    assert (last["status"], last["output"], last["logs"]) == ("succeeded", ["t0", "t1"], "step 0\nstep 1\n")
    late = requests.get(f"{server.url}/predictions/s1", headers={"Accept": "text/event-stream"}, timeout=PATIENCE)
    assert events(late) == found, "who comes late sees all"


def test_events_of_a_failure(server: Server) -> None:
    found = events(put(server, "s2", {"items": 1, "fail": True}, Accept="text/event-stream"))
    last = found[-1][1]
    assert (last["status"], last["output"], last["error"]) == ("failed", ["t0"], "Prediction failed: ValueError: late")
    assert "Traceback" in last["logs"]


class Follower:
    """A client in the midst of a stream."""

    def __init__(self, method: str, url: str, **body: Any) -> None:
        accept = {"Accept": "text/event-stream"}
        self._answer = requests.request(method, url, headers=accept, stream=True, timeout=PATIENCE, **body)
        assert self._answer.status_code == 200, self._answer.text
        self._lines = self._answer.iter_lines(chunk_size=1, decode_unicode=True)

    def until(self, text: str) -> list[str]:
        lines: list[str] = []
        while not lines or text not in lines[-1]:
            lines.append(next(self._lines))
        return lines

    def close(self) -> None:
        self._answer.close()


def test_events_come_as_the_model_gives_them_and_others_may_follow(server: Server, project: Path) -> None:
    url = f"{server.url}/predictions/live"
    first = Follower("PUT", url, json={"input": {"gate": "live"}})
    first.until('"chunk":"t0"')  # the second item is not made yet
    second = Follower("PUT", url, json={})
    assert "event: start" in second.until('"chunk":"t0"')
    (project / "live-0").touch()
    (project / "live-1").touch()
    for follower in (first, second):
        follower.until("event: completed")
        follower.close()


def test_the_last_who_follows_takes_the_prediction_with_him(server: Server) -> None:
    url = f"{server.url}/predictions/left"
    first = Follower("PUT", url, json={"input": {"gate": "left"}})
    first.until("start")
    second = Follower("GET", url)
    second.until("start")
    first.close()
    time.sleep(0.3)
    assert server.get("/predictions/left").json()["status"] == "processing", "somebody still follows"
    second.close()
    assert ended(server, "left")["status"] == "canceled"


def test_a_client_that_hangs_up_leaves_an_asynchronous_prediction(server: Server, project: Path) -> None:
    put(server, "alone", {"gate": "alone", "items": 1}, Prefer="respond-async")
    watcher = Follower("GET", f"{server.url}/predictions/alone")
    watcher.until("start")
    watcher.close()
    time.sleep(0.2)
    (project / "alone-0").touch()
    assert ended(server, "alone")["status"] == "succeeded"


def test_trainings_cannot_be_followed(server: Server) -> None:
    answer = server.post("/trainings", json={"input": {}}, headers={"Accept": "text/event-stream"})
    assert answer.status_code == 406
    assert answer.json() == {"error": "Training endpoints do not support streaming responses."}


def test_the_models_own_healthcheck(server: Server, project: Path) -> None:
    assert server.health()["status"] == "READY"
    put(server, "busy", {"gate": "busy"}, Prefer="respond-async")
    (project / "sick").touch()
    health = server.health()
    assert (health["status"], health["setup"]["status"]) == ("UNHEALTHY", "succeeded")
    assert health["user_healthcheck_error"] == "Healthcheck failed: user-defined healthcheck returned False"
    assert 'cog_status{status="UNHEALTHY"} 1.0' in server.get("/metrics").text
    (project / "raise").touch()
    assert server.health()["user_healthcheck_error"] == "Healthcheck failed: RuntimeError: db gone"
    (project / "sick").unlink()
    (project / "raise").unlink()
    assert 'cog_status{status="UNHEALTHY"} 0.0' in server.get("/metrics").text
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert {health["status"] for health in pool.map(lambda _: server.health(), range(8))} == {"READY"}
    server.post("/predictions/busy/cancel")
    ended(server, "busy")


def test_no_events_where_the_model_is_not_one_to_follow(tmp_path: Path) -> None:
    with serving(tmp_path, MODEL, schema=schema()) as server:
        answer = put(server, "x", {"items": 1}, Accept="text/event-stream")
        assert answer.status_code == 406
        assert answer.json()["error"].startswith("This model does not support streaming responses.")
        assert put(server, "x", {"items": 1}, Accept="text/event-stream;q=0, */*").status_code == 200


def test_a_short_history(tmp_path: Path) -> None:
    more = {"COG_STREAM_HISTORY_CAPACITY": "3"}
    with serving(tmp_path, MODEL, schema=schema(**{"x-cog-streaming": True}), **more) as server:
        found = events(put(server, "x", {"items": 100}, Accept="text/event-stream"))
        assert sum(kind == "output" for kind, _ in found) == 100, "who is there from the start misses nothing"
        late = events(
            requests.get(f"{server.url}/predictions/x", headers={"Accept": "text/event-stream"}, timeout=PATIENCE)
        )
        assert late == [
            ("error", {"error": "SSE stream replay truncated; events were dropped", "skipped": len(found) - 3})
        ]


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, MODEL, schema=schema()) as server:
        assert put(server, "x", {"gate": "never"}, Prefer="respond-async").status_code == 202
        server.process.send_signal(signal.SIGTERM)
        server.wait_until_closed()
        assert server.process.poll() is None, "it waits for the prediction"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0


TRAINED = """
    import cog
    def train(n: int) -> str:
        return f"trained {n}"
"""


@pytest.mark.parametrize("mode", ["predict", "train"])
def test_trainings(tmp_path: Path, mode: str) -> None:
    both = document({"text": {"type": "string"}})
    both["components"]["schemas"]["TrainingInput"] = {
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
    }  # fmt: skip
    model = "def run(text: str = '') -> str: return 'ran ' + text\n"
    with serving(
        tmp_path, model, schema=both, arguments=("--x-mode", mode), files={"train.py": TRAINED},
        COG_PREDICT_TYPE_STUB="run.py:run", COG_TRAIN_TYPE_STUB="train.py:train",
    ) as server:  # fmt: skip
        assert server.get("/").json()["trainings_url"] == "/trainings"
        refused = server.post("/trainings", json={"input": {}})
        assert refused.status_code == 422
        assert refused.json()["detail"] == [
            {"loc": ["body", "input", "n"], "msg": "Field required", "type": "value_error.missing"}
        ]
        answer = server.post("/trainings", json={"input": {"n": 3, "text": "dropped"}}).json()
        assert (answer["status"], answer["output"]) == ("succeeded", "trained 3")
        url = f"{server.url}/trainings/a"
        wrong = requests.put(url, json={"id": "b", "input": {"n": 1}}, timeout=PATIENCE).json()
        assert wrong["detail"][0]["msg"] == "training ID must match the ID supplied in the URL"
        later = requests.put(url, json={"input": {"n": 1}}, headers={"Prefer": "respond-async"}, timeout=PATIENCE)
        assert (later.status_code, later.headers["location"]) == (202, "/trainings/a")
        deadline = time.monotonic() + PATIENCE
        while (state := server.get("/trainings/a").json())["status"] != "succeeded":
            assert time.monotonic() < deadline, state
            time.sleep(0.01)
        assert server.post("/trainings/a/cancel").status_code == 404
        ran = server.post("/predictions", json={"input": {"n": 5} if mode == "train" else {"text": "x"}}).json()
        assert ran["output"] == ("trained 5" if mode == "train" else "ran x")


def test_kubernetes_is_told_when_it_is_ready(tmp_path: Path) -> None:
    # The path is fixed: the server gets a /run of its own.
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    wrapper = (*alone, "sh", "-c", 'mount -t tmpfs tmpfs "$(readlink -f /var/run)" && exec "$@"', "sh")
    if shutil.which("unshare") is None or subprocess.run([*wrapper, "true"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    source = "import os\nclass Runner:\n  def run(self, crash: bool = False): os._exit(1) if crash else None\n"
    with serving(tmp_path, source, wrapper=wrapper, KUBERNETES_SERVICE_HOST="10.0.0.1") as server:
        ready = Path(f"/proc/{server.process.pid}/root{os.path.realpath('/var/run')}/cog/ready")
        assert ready.exists()
        ready.unlink()
        server.predict(crash=True)
        assert server.wait("READY")["worker"]["last_exit"] == "Worker crashed: exit code 1"
        assert ready.exists(), "of the next worker"


def test_many_connections_that_end_early(server: Server) -> None:
    """Requests that are cut off in the head, in the body and before the answer leave nothing behind."""
    port = int(server.url.rsplit(":", 1)[1])
    body = b'{"input":{"items":1}}'
    head = b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    whole = head % len(body) + body
    for length in range(0, len(whole) + 1, 5):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(whole[:length])
    server.wait("READY")
    assert server.predict(items=1)["output"] == ["t0"]
