"""The server over a real socket with a real worker, one start each for what changes the process."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from runtime_image import PATIENCE, Server, document, serving

HELLO = """
    from cog import BaseRunner
    class Runner(BaseRunner):
        def run(self, text: str = "you") -> str:
            return "hello " + text
"""

HOSTILE = """
    import ctypes, os, signal, subprocess, sys, threading, time
    from cog import BaseRunner, Path
    class Runner(BaseRunner):
        def setup(self):
            print("setup", os.getpid())
        def run(self, do: str, gate: str = "") -> str:
            print("doing", do, flush=True)
            if do == "exit":
                sys.exit(3)
            if do == "_exit":
                os._exit(3)
            if do == "segfault":
                ctypes.string_at(0)
            if do == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if do == "close":
                os.close(1), os.close(2)
            if do == "raise":
                raise ValueError("boom")
            if do == "interrupt":
                raise KeyboardInterrupt
            while gate and not os.path.exists(gate):
                time.sleep(0.01)
            if do == "thread":
                threading.Thread(target=time.sleep, args=(1000,)).start()
            if do == "child":
                return str(subprocess.Popen(["sleep", "1000"]).pid)
            if do == "group":
                return str(subprocess.Popen(["sleep", "1000"], preexec_fn=os.setpgrp).pid)
            if do == "fork":
                child = os.fork()
                if child == 0:
                    print("in the child")
                    os._exit(0)
                os.waitpid(child, 0)
            return "done"
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("hostile"), HOSTILE) as server:
        yield server


def test_routes(tmp_path: Path) -> None:
    schema = document({"text": {"type": "string", "maxLength": 5}})
    with serving(tmp_path, HELLO, schema=schema) as server:
        assert server.get("/openapi.json").json() == schema
        root = server.get("/").json()
        assert root["predictions_url"] == "/predictions"
        page = server.get(root["docs_url"])
        assert page.headers["content-type"].startswith("text/html")
        assert "://" not in page.text.replace("http://www.w3.org", ""), "nothing is fetched from elsewhere"
        health = server.health()
        assert health["status"] == "READY"
        assert health["setup"]["status"] == "succeeded"
        assert set(health["setup"]) == {"started_at", "completed_at", "status", "logs"}
        answer = server.predict(text="w", unknown=1)
        assert (answer["status"], answer["output"]) == ("succeeded", "hello w")
        assert answer["metrics"]["predict_time"] > 0
        assert answer["created_at"] <= answer["started_at"] <= answer["completed_at"]
        named = requests.put(f"{server.url}/predictions/mine", json={"input": {}}, timeout=PATIENCE).json()
        assert (named["id"], named["output"]) == ("mine", "hello you")
        refused = server.post("/predictions", json={"input": {"text": "too long"}})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["msg"] == '"too long" is longer than 5 characters'
        assert server.post("/shutdown").json() == {}
        assert server.process.wait(PATIENCE) == 0


def test_a_failing_prediction_keeps_its_logs_and_traceback(hostile: Server) -> None:
    answer = hostile.predict(do="raise")
    assert answer["status"] == "failed"
    assert answer["error"] == "Prediction failed: ValueError: boom"
    assert answer["logs"].startswith("doing raise\nTraceback (most recent call last):\n")
    assert answer["logs"].endswith("ValueError: boom\n")
    assert "cog/worker" not in answer["logs"]
    assert "output" not in answer


@pytest.mark.parametrize(
    ("do", "error"),
    [("exit", "Prediction failed: SystemExit: 3"), ("interrupt", "Prediction failed: KeyboardInterrupt")],
)
def test_leaving_python_fails_the_prediction_only(hostile: Server, do: str, error: str) -> None:
    before = hostile.worker_pid()
    assert hostile.predict(do=do)["error"] == error
    assert hostile.worker_pid() == before
    assert hostile.predict(do="nothing")["output"] == "done"


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("_exit", "exit code 3"),
        ("segfault", "killed by signal 11 (SIGSEGV)"),
        ("kill", "killed by signal 9 (SIGKILL, perhaps out of memory)"),
    ],
)
def test_a_crash_fails_the_prediction_and_a_new_worker_is_set_up(hostile: Server, do: str, reason: str) -> None:
    before = hostile.wait("READY")["setup"]["logs"]
    answer = hostile.predict(do=do)
    assert answer["status"] == "failed"
    assert answer["error"] == f"Worker crashed: {reason}"
    assert answer["logs"].startswith(f"doing {do}\n")
    assert ("Segmentation fault" in answer["logs"]) == (do == "segfault")
    after = hostile.wait("READY")["setup"]["logs"]
    assert after.startswith("setup ")
    assert after != before, "setup ran again, in another process"
    assert hostile.predict(do="nothing")["output"] == "done"


def test_a_worker_killed_between_predictions_is_replaced(hostile: Server) -> None:
    before = hostile.wait("READY")["setup"]["logs"]
    os.kill(int(before.split()[1]), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while hostile.wait("READY")["setup"]["logs"] == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hostile.predict(do="nothing")["output"] == "done"


def test_closed_descriptors_do_no_harm(hostile: Server) -> None:
    assert hostile.predict(do="close")["output"] == "done"
    after = hostile.predict(do="nothing")
    assert (after["output"], after["logs"]) == ("done", "doing nothing\n")


def test_threads_and_forks_of_a_model(hostile: Server) -> None:
    hostile.predict(do="kill")  # whose descriptors are open again
    hostile.wait("READY")
    assert hostile.predict(do="thread")["status"] == "succeeded"
    forked = hostile.predict(do="fork")
    assert forked["output"] == "done"
    assert forked["logs"] == "doing fork\nin the child\n"


@pytest.mark.parametrize("do", ["child", "group"])
def test_children_of_a_crashed_worker_are_ended(hostile: Server, do: str) -> None:
    hostile.wait("READY")
    child = Path(f"/proc/{hostile.predict(do=do)['output']}")
    assert child.exists()
    hostile.predict(do="_exit")
    deadline = time.monotonic() + PATIENCE
    while child.exists() and "Z" not in (child / "stat").read_text().split()[2] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists() or child.joinpath("stat").read_text().split()[2] == "Z"


def test_a_second_prediction_is_refused_while_one_runs(hostile: Server) -> None:
    hostile.wait("READY")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(hostile.predict, do="wait", gate="refused")
        hostile.wait("BUSY")
        second = hostile.post("/predictions", json={"input": {"do": "nothing"}})
        assert second.status_code == 409
        assert second.json() == {"error": "At capacity - all prediction slots busy", "status": "failed"}
        (hostile.project / "refused").touch()
        assert first.result()["output"] == "done"
    assert hostile.health()["status"] == "READY"


def test_before_and_after_a_failed_setup(tmp_path: Path) -> None:
    source = """
        import os, pathlib, time
        from cog import BaseRunner
        class Runner(BaseRunner):
            def setup(self):
                print("loading")
                os.write(1, b"from C\\n")
                while not pathlib.Path("go").exists():
                    time.sleep(0.01)
                raise RuntimeError("no gpu")
            def run(self) -> str:
                return "never"
    """
    with serving(tmp_path, source, wait=False) as server:
        assert server.wait("STARTING")["setup"]["status"] == "starting"
        early = server.post("/predictions", json={"input": {}})
        assert early.status_code == 503
        assert early.json()["error"].startswith("Setup has not finished yet.")
        (tmp_path / "src/go").touch()
        setup = server.wait("SETUP_FAILED")["setup"]
        assert setup["status"] == "failed"
        assert setup["logs"].startswith("loading\nfrom C\nTraceback (most recent call last):\n")
        assert setup["logs"].endswith("Setup failed: RuntimeError: no gpu\n")
        assert server.post("/predictions", json={"input": {}}).status_code == 503
        assert server.end() == 0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import nowhere", "Setup failed: ModuleNotFoundError: No module named 'nowhere'\n"),
        ("import os\nos._exit(7)", "Setup failed: Worker crashed: exit code 7\n"),
        ("import sys\nsys.exit('no')", "Setup failed: SystemExit: no\n"),
        ("class Runner: pass", "Setup failed: ValueError: run or predict method not found: Runner\n"),
        ("x = 1", "Setup failed: AttributeError: module 'run' has no attribute 'Runner'\n"),
    ],
)
def test_a_model_that_cannot_be_loaded(tmp_path: Path, source: str, expected: str) -> None:
    with serving(tmp_path, source, wait=False) as server:
        assert server.wait("SETUP_FAILED")["setup"]["logs"].endswith(expected)


def test_setup_has_a_time_limit(tmp_path: Path) -> None:
    source = "import time\nclass Runner:\n  def setup(self): time.sleep(1000)\n  def run(self): return 1\n"
    with serving(tmp_path, source, wait=False, COG_SETUP_TIMEOUT="1") as server:
        assert "not finished after 1 seconds" in server.wait("SETUP_FAILED")["setup"]["logs"]


def test_sigterm_finishes_what_runs_and_takes_nothing_more(tmp_path: Path) -> None:
    with serving(tmp_path, HOSTILE) as server:
        results: list[object] = []
        thread = threading.Thread(target=lambda: results.append(server.predict(do="wait", gate="end")))
        thread.start()
        server.wait("BUSY")
        worker = server.worker_pid()
        server.process.send_signal(signal.SIGTERM)
        server.wait_until_closed()
        assert server.process.poll() is None
        (server.project / "end").touch()
        assert server.process.wait(PATIENCE) == 0
        thread.join()
        assert results[0]["output"] == "done"  # type: ignore[index]
        with pytest.raises(requests.ConnectionError):
            server.get("/")
        assert not Path(f"/proc/{worker}").exists()
        assert list((tmp_path / "tmp").iterdir()) == [], "nothing is left behind"


def test_await_explicit_shutdown(tmp_path: Path) -> None:
    with serving(tmp_path, HELLO, arguments=("--await-explicit-shutdown", "true")) as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.predict()["output"] == "hello you"
        assert server.end(signal.SIGINT) == 0


def test_the_model_must_be_named(tmp_path: Path) -> None:
    with serving(tmp_path, HELLO, wait=False, COG_PREDICT_TYPE_STUB="") as server:
        assert server.process.wait(PATIENCE) == 1
        assert server.output().startswith("ERROR: COG_PREDICT_TYPE_STUB environment variable is not set.")


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with serving(tmp_path / "a", HELLO) as first:
        port = first.url.rsplit(":", 1)[1]
        with serving(tmp_path / "b", HELLO, wait=False, PORT=port) as second:
            assert second.process.wait(PATIENCE) == 1
            assert second.output() == f"ERROR: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_asynchronous_models_run_predictions_together(tmp_path: Path) -> None:
    source = """
        import asyncio
        import cog
        class Runner:
            async def setup(self):
                self.arrived = 0
                self.all = asyncio.Event()
                print("async setup")
            @cog.concurrent(max=3)
            async def run(self, name: str) -> str:
                print("begin", name)
                self.arrived += 1
                if self.arrived == 3:
                    self.all.set()
                await self.all.wait()
                print("end", name)
                return name
    """
    with serving(tmp_path, source) as server:
        assert server.health()["setup"]["logs"] == "async setup\n"
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda name: server.predict(name=name), "abc"))
        assert [answer["output"] for answer in answers] == ["a", "b", "c"]
        assert [answer["logs"] for answer in answers] == [f"begin {name}\nend {name}\n" for name in "abc"]


CANCELED = """
    import asyncio, cog, time
    class Runner:
        def run(self, how: str = "sleep") -> cog.ConcatenateIterator[str]:
            try:
                yield "begun"
                print("waiting")
                time.sleep(1000)
            except cog.CancelationException:
                print("cleaning up")
                raise
    class Async:
        @cog.concurrent(max=2)
        async def run(self, how: str = "sleep") -> cog.AsyncConcatenateIterator[str]:
            try:
                yield "begun"
                print("waiting")
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                print("cleaning up")
                raise
"""


@pytest.mark.parametrize("name", ["Runner", "Async"])
def test_cancel(tmp_path: Path, name: str) -> None:
    with serving(tmp_path, CANCELED, COG_PREDICT_TYPE_STUB=f"run.py:{name}") as server, requests.Session() as session:
        assert server.post("/predictions/x/cancel").status_code == 404
        with concurrent.futures.ThreadPoolExecutor() as pool:
            url = f"{server.url}/predictions/x"
            first = pool.submit(session.put, url, json={"input": {}}, timeout=PATIENCE)
            server.wait_for_output("waiting")
            again = requests.put(url, json={"input": {}}, timeout=PATIENCE)
            assert again.status_code == 202, "the same id does not run twice"
            assert (again.json()["status"], again.json()["output"]) == ("processing", ["begun"])
            canceled = server.post("/predictions/x/cancel")
            assert (canceled.status_code, canceled.json()) == (200, {})
            answer = first.result().json()
        assert answer["status"] == "canceled"
        assert answer["logs"] == "waiting\ncleaning up\n"
        assert answer["output"] == ["begun"]
        assert "error" not in answer
        assert server.post("/predictions/x/cancel").status_code == 404
        assert server.health()["status"] == "READY"


def test_a_client_that_hangs_up_cancels(tmp_path: Path) -> None:
    with serving(tmp_path, CANCELED) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as connection:
            connection.sendall(b"POST /predictions HTTP/1.1\r\nHost: x\r\n\r\n")
            server.wait_for_output("waiting")
        server.wait_for_output("cleaning up")
        server.wait("READY")
