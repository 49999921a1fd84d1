"""Models that pin packages of another age, and that misbehave, in images that are really built and run."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from runtime_image import PATIENCE

from tests.conftest import ROOT, Cogsmith
from tests.ports import reserved_port

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("containers")]

CONFIG = """
    build:
      python_version: "3.11"
      python_requirements: requirements.txt
    run: "run.py:Runner"
"""

MODEL = """
    import ctypes, importlib, os, resource, signal, subprocess, sys, threading, time
    from importlib.metadata import version
    from typing import Any, List
    from cog import BaseRunner, Path

    class Runner(BaseRunner):
        def setup(self) -> None:
            print("setup", os.getpid())

        def run(self, do: str) -> Any:
            print("doing", do, end="")
            return getattr(self, do)()

        def pid(self): return os.getpid()

        def versions(self):
            found = {}
            for name in ["pydantic", "fastapi", "starlette", "typing-extensions"]:
                try:
                    importlib.import_module(name.replace("-", "_"))
                except ImportError as problem:  # not even the server's own
                    print(problem)
                else:
                    found[name] = version(name)
            return found

        def pydantic(self):
            import pydantic
            class Answer(pydantic.BaseModel):
                numbers: List[int]
                file: pathlib.Path
            path = pathlib.Path("/tmp/answer.txt")
            path.write_text("from pydantic")
            return Answer(numbers=["1", 2], file=path)

        def app(self):
            import fastapi
            application = fastapi.FastAPI(title="the model's own")
            @application.get("/{n}")
            def root(n: int): return n
            return sorted(application.openapi()["paths"])

        def exit(self): sys.exit(3)
        def leave(self): os._exit(3)
        def segfault(self): ctypes.string_at(0)
        def kill(self): os.kill(os.getpid(), signal.SIGKILL)
        def memory(self):
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
            return len(bytearray(4 << 30))
        def hog(self):
            held = []
            while True: held.append(b"x" * (16 << 20))
        def close(self):
            os.close(1), os.close(2)
            return "closed"
        def deaf(self):
            os.closerange(3, 1024)
            time.sleep(1000)
        def write(self):
            print()
            os.write(1, b"raw\\n")
            ctypes.CDLL(None).puts(b"from C")
            subprocess.run(["echo", "from a child"])
            return "written"
        def bomb(self):
            pids = []
            for _ in range(40):
                pid = os.fork()
                if pid == 0:
                    if os.fork() == 0: os.setsid()
                    time.sleep(1000)
                    os._exit(0)
                pids.append(pid)
            return len(pids)
        def processes(self):
            return len([name for name in os.listdir("/proc") if name.isdigit()])
        def stubborn(self):
            while True:
                try:
                    print(", deaf", flush=True)
                    time.sleep(1000)
                except BaseException: pass

    import pathlib
"""

OLD = "pydantic-1.10"
PINS = {
    OLD: {"pydantic": "1.10.13", "fastapi": "0.60.0", "starlette": "0.13.4", "typing-extensions": "4.7.0"},
    "typing-extensions-4.0": {"starlette": "0.13.4", "typing-extensions": "4.0.0"},
}


class Served:
    """A container under way."""

    def __init__(self, url: str, log: Path, *, pid: int) -> None:
        self.url = url
        self.log = log
        self.pid = pid

    def predict(self, do: str, *, identity: str | None = None) -> Any:
        body = {"input": {"do": do}, **({"id": identity} if identity else {})}
        return requests.post(f"{self.url}/predictions", json=body, timeout=PATIENCE).json()

    def logs(self, identity: str) -> str:
        """What a prediction has written; nothing if there is none yet."""
        return str(requests.get(f"{self.url}/predictions/{identity}", timeout=PATIENCE).json().get("logs", ""))

    def health(self) -> Any:
        return requests.get(f"{self.url}/health-check", timeout=PATIENCE).json()

    def ready(self) -> Any:
        deadline = time.monotonic() + PATIENCE
        while (health := self.health())["status"] != "READY":
            assert time.monotonic() < deadline, health
            time.sleep(0.05)
        return health


def built(cogsmith: Cogsmith, folder: Path, *, image: str, requirements: str) -> None:
    (folder / "cog.yaml").write_text(textwrap.dedent(CONFIG))
    (folder / "requirements.txt").write_text(requirements)
    (folder / "run.py").write_text(textwrap.dedent(MODEL))
    cogsmith("build", "-t", image, cwd=folder, timeout=600)


@contextlib.contextmanager
def container(cogsmith: Cogsmith, image: str, *, log: Path) -> Iterator[Served]:
    command = [sys.executable, "-m", "builder.cli", "serve", "-p"]
    with (
        reserved_port() as port,
        log.open("wb") as file,
        subprocess.Popen(
            [*command, str(port), image],
            cwd=ROOT,
            env=cogsmith.env(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        ) as process,
    ):
        try:
            served = Served(f"http://127.0.0.1:{port}", log, pid=process.pid)
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                with contextlib.suppress(requests.ConnectionError):
                    if served.health()["status"] == "READY":
                        break
                time.sleep(0.1)
            yield served
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


@contextlib.contextmanager
def pinned(cogsmith: Cogsmith, name: str, *, folder: Path) -> Iterator[Served]:
    requirements = "".join(f"{package}=={version}\n" for package, version in PINS[name].items())
    built(cogsmith, folder, image=name, requirements=requirements)
    with container(cogsmith, name, log=folder / "log") as served:
        yield served


@pytest.fixture(scope="module")
def served(cogsmith: Cogsmith, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pinned(cogsmith, OLD, folder=tmp_path_factory.mktemp("pins")) as served:
        yield served


@pytest.mark.xdist_group("pins")
def test_packages_of_another_age(served: Served) -> None:
    assert served.predict("versions")["output"] == PINS[OLD]
    assert served.predict("pydantic")["output"] == {
        "numbers": [1, 2],
        "file": "data:text/plain;base64,ZnJvbSBweWRhbnRpYw==",
    }
    assert served.predict("app")["output"] == ["/{n}"]


@pytest.mark.xdist_group("pins")
def test_the_oldest_typing_extensions(cogsmith: Cogsmith, tmp_path: Path) -> None:
    name = "typing-extensions-4.0"
    with pinned(cogsmith, name, folder=tmp_path) as served:
        assert served.predict("versions")["output"] == PINS[name]


@pytest.mark.xdist_group("pins")
def test_a_model_that_misbehaves(served: Served) -> None:
    assert served.predict("exit")["error"] == "Prediction failed: SystemExit: 3"
    assert served.predict("write")["logs"] == "doing write\nraw\nfrom C\nfrom a child\n"
    assert served.predict("memory")["error"].startswith("Prediction failed: MemoryError")
    for do, reason in {
        "leave": "exit code 3", "segfault": "killed by signal 11 (SIGSEGV)", "kill": "killed by signal 9 (SIGKILL",
    }.items():  # fmt: skip
        before = served.ready()["setup"]["logs"]
        answer = served.predict(do)
        assert answer["status"] == "failed"
        assert answer["error"].startswith(f"Worker crashed: {reason}")
        assert f"doing {do}" in answer["logs"], "an unfinished line is not lost"
        assert served.ready()["setup"]["logs"] != before, "another worker was set up"
    assert served.predict("deaf")["status"] == "failed"
    served.ready()
    assert served.predict("close")["output"] == "closed"
    assert served.predict("pid")["status"] == "succeeded"


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


@contextlib.contextmanager
def little_memory(pids: list[int], *, limit: int) -> Iterator[None]:
    """Let the kernel kill one of them when they use more than `limit` bytes together; skips where it cannot."""
    top = Path("/sys/fs/cgroup")
    old = (top / "memory" / "memory.limit_in_bytes").exists()
    group = (top / "memory" if old else top) / f"cogsmith-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit))
    except OSError as problem:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no memory control group can be made here: {problem}")
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()


@pytest.mark.xdist_group("pins")
def test_the_kernel_kills_a_worker_that_takes_all_memory(served: Served) -> None:
    served.ready()
    with little_memory(family(served.pid), limit=600 << 20):
        answer = served.predict("hog")
        assert answer["status"] == "failed"
        assert answer["error"].startswith("Worker crashed: killed by signal 9 (SIGKILL")
        served.ready()
        assert served.predict("pid")["status"] == "succeeded", "the server was not chosen"


@pytest.mark.xdist_group("pins")
def test_processes_that_a_model_leaves_behind(served: Served) -> None:
    served.ready()
    before = served.predict("processes")["output"]
    assert served.predict("bomb")["output"] == 40
    assert served.predict("processes")["output"] > before + 40
    served.predict("leave")
    served.ready()
    deadline = time.monotonic() + PATIENCE
    while (now := served.predict("processes")["output"]) > before:
        assert time.monotonic() < deadline, (now, before)
        time.sleep(0.1)


@pytest.mark.xdist_group("pins")
def test_a_prediction_that_will_not_end(served: Served) -> None:
    pid = served.predict("pid")["output"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(served.predict, "stubborn", identity="s")
        deadline = time.monotonic() + PATIENCE
        while "deaf" not in served.logs("s"):  # one that has not begun would just not run
            assert time.monotonic() < deadline
            time.sleep(0.02)
        canceled = requests.post(f"{served.url}/predictions/s/cancel", timeout=PATIENCE)
        assert canceled.status_code == 200
        answer = running.result()
    assert answer["status"] == "canceled", json.dumps(answer)
    served.ready()
    assert served.predict("pid")["output"] != pid, "its worker was replaced"
