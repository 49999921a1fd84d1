"""A made-up image for the tests: a virtual environment, the SDK beside it, a project folder, and its server.

The layout is that of a real image, but for the paths, and the server's packages are those of the tests' own Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fastapi
import requests

from tests.ports import reserved_port

ROOT = Path(__file__).resolve().parent.parent.parent
SDK = ROOT / "runtime"
SERVER_PACKAGES = Path(fastapi.__file__).parent.parent

BASE = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"

PATIENCE = 60
"""Seconds after which something that should happen does not."""


def document(properties: Mapping[str, Any], required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """An OpenAPI document with this Input."""
    schema = {"type": "object", "properties": dict(properties), "required": list(required), "title": "Input"}
    return {"openapi": "3.0.2", "components": {"schemas": {"Input": schema, **more}}, "paths": {}}


def children(pid: int) -> list[int]:
    """The process ids of a process's children, zombies included."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: Path, site: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.site_packages = site
        self.project = output.parent / "src"
        self._output = output

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=PATIENCE)

    def health(self) -> Any:
        return self.get("/health-check").json()

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=PATIENCE, **options)

    def predict(self, **given: Any) -> Any:
        """The answer to a prediction with this input, which must be of status 200."""
        answer = self.post("/predictions", json={"input": given})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, *wanted: str) -> Any:
        """Wait until health is one of `wanted`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                health = self.health()
                if health["status"] in wanted:
                    return health
            assert self.process.poll() is None, self.output()
            time.sleep(0.02)
        raise AssertionError(f"never became {wanted}: {self.health()}\n{self.output()}")

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for_output(self, text: str) -> None:
        """Wait until the container's log holds `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.output():
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def wait_until_closed(self) -> None:
        """Wait until it takes no more connections, as after a signal."""
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(ConnectionError):
            while True:
                assert time.monotonic() < deadline, self.output()
                socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2]))).close()
                time.sleep(0.02)

    def worker_pid(self) -> int:
        """The process id of the worker, from /proc."""
        (worker,) = children(self.process.pid)
        return worker

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def make_venv(folder: Path, *, base: Path, minor: str) -> Path:
    """A virtual environment of the Python `base` (`3.11`: `minor`) as the runtime layer lays it out; its Python."""
    minor = f"python{minor}"
    site = folder / "lib" / minor / "site-packages"
    site.mkdir(parents=True)
    (site / "cogsmith.pth").write_text(f"{SDK}\n")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = true\n")
    return folder / "bin/python"


@contextlib.contextmanager
def serving(
    folder: Path,
    source: str,
    *,
    schema: Mapping[str, Any] | None = None,
    arguments: tuple[str, ...] = (),
    packages: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    wait: bool = True,
    wrapper: tuple[str, ...] = (),
    python: tuple[Path, str, Path] = (BASE, MINOR, SERVER_PACKAGES),
    **environment: str,
) -> Iterator[Server]:
    """Serve the model `source` (a `run.py`); `packages` are modules of its environment, `files` of its project.

    `wrapper` is put before the command; `python` is the interpreter, its version and the server's packages for it.
    """
    base, minor, server_packages = python
    executable = make_venv(folder / "venv", base=base, minor=minor)
    site = next((folder / "venv/lib").iterdir()) / "site-packages"
    project = folder / "src"
    project.mkdir()
    (folder / "tmp").mkdir()
    (project / "run.py").write_text(textwrap.dedent(source))
    for name, text in (files or {}).items():
        (project / name).write_text(textwrap.dedent(text))
    for name, text in (packages or {}).items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(textwrap.dedent(text))
    if schema is not None:
        (project / ".cog").mkdir()
        (project / ".cog/openapi_schema.json").write_text(json.dumps(schema))
    hold = contextlib.ExitStack()
    port = hold.enter_context(reserved_port())
    env = {
        "PATH": os.environ["PATH"],
        "LOG_FORMAT": "console",
        "PORT": str(port),
        "TMPDIR": str(folder / "tmp"),
        "COG_PREDICT_TYPE_STUB": "run.py:Runner",
        "COGSMITH_SERVER_PATH": str(server_packages),
        **environment,
    }
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*wrapper, executable, "-m", "cog.server.http", "--host", "127.0.0.1", *arguments],
            cwd=project, env=env, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = Server(process, port, output, site)
    try:
        if wait:
            server.wait("READY")
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)
        hold.close()
