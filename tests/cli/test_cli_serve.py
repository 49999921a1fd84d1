"""`cogsmith serve` and `exec`: processes that run on, get signals, and leave nothing behind."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pty
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from small_projects import SOURCE, descendants, end, error, eventually, gone, start

from tests.conftest import Cogsmith
from tests.ports import reserved_port

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello"), pytest.mark.usefixtures("containers", "hello")]


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, "/health-check")["status"] == "READY"
    return False


@pytest.fixture
def started(cogsmith: Cogsmith, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the program; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **streams: int) -> subprocess.Popen[str]:
        running.append(start(cogsmith, *arguments, cwd=tmp_path, **streams))
        return running[-1]

    yield begin
    for process in running:
        end(process)


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as reserved:
        yield reserved


@pytest.fixture
def page() -> Iterator[int]:
    """Another one, for the playground."""
    with reserved_port() as reserved:
        yield reserved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_serve_until_told(
    cogsmith: Cogsmith, started: Callable[..., subprocess.Popen[str]], number: signal.Signals, port: int
) -> None:
    server = started("serve", "hello", "-p", str(port))
    assert eventually(lambda: is_ready(port) or server.poll() is not None)
    assert server.poll() is None
    answer = ask(port, "/predictions", {"input": {"text": "over HTTP"}})
    assert (answer["status"], answer["output"]) == ("succeeded", "hello over HTTP")
    below = descendants(server.pid)
    assert below
    if number == signal.SIGTERM:
        taken = cogsmith("serve", "hello", "-p", str(port), ok=False)
        assert f"port {port} of 127.0.0.1 is taken" in error(taken, 8)
    os.kill(server.pid, number)
    out, err = server.communicate(timeout=60)
    assert server.returncode == 0
    assert out == ""
    assert f"Serving at http://localhost:{port}" in err
    assert not {"\r", "\x1b"} & set(err)
    assert eventually(lambda: gone(below))
    assert not is_ready(port)


def test_serve_with_a_playground(started: Callable[..., subprocess.Popen[str]], port: int, page: int) -> None:
    """The model answers through the page's proxy, and its webhooks find this machine by name."""
    server = started("serve", "hello", "-p", str(port), "--playground", "--playground-port", str(page))
    assert eventually(lambda: is_ready(port) or server.poll() is not None)
    assert server.poll() is None
    assert eventually(lambda: is_ready_below(page))
    hook = ask(page, "/config")["webhook"]
    assert hook.startswith(f"http://host.docker.internal:{page}/")
    body = {"input": {"text": "hooks"}, "webhook": f"{hook}/one"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{page}/api/predictions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Prefer": "respond-async"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        assert answer.status == 202

    def last() -> Any:
        events: Any = ask(page, "/events")
        return events[-1]["body"] if events else {}

    assert eventually(lambda: last().get("status") == "succeeded")
    assert last()["output"] == "hello hooks"
    os.kill(server.pid, signal.SIGTERM)
    _, err = server.communicate(timeout=60)
    assert server.returncode == 0
    assert f"Playground at http://localhost:{page}" in err


def is_ready_below(page: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(page, "/api/health-check")["status"] == "READY"
    return False


class Uploads(http.server.BaseHTTPRequestHandler):
    """Takes what is put here."""

    got: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        self.got[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_outputs_are_put_where_one_wants_them(
    cogsmith: Cogsmith,
    model: Callable[[Path, str], Path],
    started: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    port: int,
) -> None:
    source = (
        "from cog import BaseRunner, Path\n\n\nclass Runner(BaseRunner):\n    def run(self) -> Path:\n"
        "        path = Path('/tmp/made.txt')\n        path.write_text('made')\n        return path\n"
    )
    cogsmith("build", "-q", "--locked", "-t", "uploads", cwd=model(tmp_path / "p", source))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Uploads) as sink:
        threading.Thread(target=sink.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://host.docker.internal:{sink.server_address[1]}/put"
        server = started("serve", "uploads", "-p", str(port), "--upload-url", url)
        assert eventually(lambda: is_ready(port) or server.poll() is not None)
        answer = ask(port, "/predictions", {"input": {}})
        assert answer["output"] == f"{url}/made.txt"
        assert Uploads.got == {"/put/made.txt": b"made"}
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(timeout=60) == 0
        sink.shutdown()


def test_playground_of_a_server_elsewhere(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, page: int
) -> None:
    """It runs alone, and holds nobody's streams: not even the browser that it starts does."""
    browser = tmp_path / "xdg-open"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened; exec sleep 1000\n')
    browser.chmod(0o755)
    os.environ["PATH"], before = f"{tmp_path}:{os.environ['PATH']}", os.environ["PATH"]
    try:
        process = started("playground", "-p", str(page), "--target", "http://127.0.0.1:9")
    finally:
        os.environ["PATH"] = before
    assert eventually((tmp_path / "opened").exists)
    below = descendants(process.pid)
    try:
        assert ask(page, "/config")["target"] == "http://127.0.0.1:9"
        os.kill(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=30)  # would wait for whoever holds the pipes
        assert (process.returncode, out) == (0, "")
        assert err.startswith(f"Playground at http://localhost:{page}\n")
        assert (tmp_path / "opened").read_text() == f"http://localhost:{page}\n"
    finally:
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["-p", "0"], 2), (["-p", "65536"], 2), (["-p", "http"], 2), (["--host", "192.0.2.1"], 8)]
)
def test_serve_where_one_cannot(cogsmith: Cogsmith, arguments: list[str], code: int) -> None:
    done = cogsmith("serve", "hello", *arguments, ok=False)
    assert (done.code, done.out) == (code, "")
    assert "192.0.2.1" in done.err or "--port" in done.err


def test_exec_of_an_image(cogsmith: Cogsmith, tmp_path: Path) -> None:
    def execute(*command: str, **more: Any) -> Any:
        return cogsmith("exec", "--image", "hello", *command, cwd=tmp_path, ok=False, **more)

    assert execute("cat", stdin="naïve\n").out == "naïve\n"
    assert execute("sh", "-c", "echo out; echo err >&2; exit 7").code == 7
    assert execute("sh", "-c", "kill -9 $$").code == 137
    assert execute("ls", "-1", "--color=never", "/src").out.split() == [
        "README.md",
        "cog.yaml",
        "run.py",
    ]  # options are the command's
    absent = execute("no-such-program")
    assert (absent.code, absent.out) == (127, "")  # as in a shell
    assert "no-such-program" in absent.err


def test_exec_hands_on_variables(cogsmith: Cogsmith, tmp_path: Path) -> None:
    options = ["-e", "A=b c", "-e", "HANDED", "-e", "ABSENT", "-e", "EMPTY="]
    done = cogsmith("exec", "--image", "hello", *options, "env", cwd=tmp_path, env={"HANDED": "on", "SECRET": "mine"})
    env = dict(line.split("=", 1) for line in done.out.splitlines())
    assert (env["A"], env["HANDED"], env["EMPTY"]) == ("b c", "on", "")
    assert not {"ABSENT", "SECRET", "XDG_CACHE_HOME"} & env.keys()


def test_exec_in_a_folder_below_the_project(
    cogsmith: Cogsmith, model: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    folder = model(tmp_path / "served", SOURCE)
    (folder / "sub").mkdir()
    done = cogsmith("exec", "sh", "-c", "pwd; echo new > made.txt", cwd=folder / "sub")
    assert done.out == "/src\n"
    assert (folder / "made.txt").read_text() == "new\n"


def test_exec_without_a_command(cogsmith: Cogsmith) -> None:
    assert cogsmith("exec", ok=False).code == 2


def test_interrupted_exec_leaves_nothing(started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started("exec", "--image", "hello", "sh", "-c", "echo ready; sleep 1000")
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    below = descendants(process.pid)
    assert below
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert eventually(lambda: gone(below))


def test_the_terminal_s_interrupt_is_for_the_command(cogsmith: Cogsmith, tmp_path: Path) -> None:
    """As in a shell: the command decides what Ctrl-C means, and its exit code is ours."""
    command = [
        "--image",
        "hello",
        "sh",
        "-c",
        "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done",
    ]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe(os.sys.executable, [os.sys.executable, "-m", "builder.cli", "exec", *command], cogsmith.env())
    said = b""

    def heard(word: bytes) -> bool:
        nonlocal said
        with contextlib.suppress(OSError):
            said += os.read(terminal, 4096)
        return word in said

    try:
        assert eventually(lambda: heard(b"ready"))
        below = descendants(pid)
        os.write(terminal, b"\x03")
        assert eventually(lambda: heard(b"caught"))
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 9
        assert eventually(lambda: gone(below))
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
