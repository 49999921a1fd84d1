"""Cog's own server, from its wheels, and ours: the same model, the same schema, the same environment."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Self

import uv
from differential_models import MODELS, Model
from runtime_image import BASE, MINOR, SERVER_PACKAGES, make_venv

from builder import schema
from tests.ports import reserved_port

UPSTREAM = "0.23.1"
"""The version of `cog` and `coglet` that the table of differences is about."""

PATIENCE = 30


def upstream_python() -> Path:
    """The Python of an environment with Cog's server, which is made once and kept in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cogsmith-tests"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"cog-{UPSTREAM}-py{MINOR}"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            program = uv.find_uv_bin()
            subprocess.run([program, "venv", "--quiet", "--python", sys.executable, folder], check=True)
            packages = [f"cog=={UPSTREAM}", f"coglet=={UPSTREAM}"]
            install = [program, "pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin/python"]
            subprocess.run([*install, *packages], check=True)
            (folder / "complete").touch()
    return folder / "bin/python"


class Side:
    """One running server, and what it sent to webhooks."""

    def __init__(self, name: str, python: Path, model: Model, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.hooks = Hooks()
        self._hold = contextlib.ExitStack()
        self.port = self._hold.enter_context(reserved_port())
        (folder / "tmp").mkdir()
        self._output = (folder / "output").open("wb")
        self.process = subprocess.Popen(
            [python, "-m", "cog.server.http", "--host", "127.0.0.1", *model.arguments],
            cwd=folder / "src", stdout=self._output, stderr=subprocess.STDOUT,
            env={
                "PATH": f"{python.parent}:{os.environ['PATH']}",
                "PORT": str(self.port),
                "TMPDIR": str(folder / "tmp"),
                "COG_PREDICT_TYPE_STUB": "run.py:Runner",
                **({"COG_TRAIN_TYPE_STUB": "train.py:train"} if model.train else {}),
                **model.environment,
                **environment,
            },
        )  # fmt: skip

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """Status, type and body of an answer; the body is parsed if it is JSON or events."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            kind, data = (answer.getheader("content-type") or "").partition(";")[0], answer.read()
        if kind == "text/event-stream":
            return {"status": answer.status, "type": kind, "events": _events(data.decode())}
        text: Any = data.decode()
        parsed = json.loads(text) if kind == "application/json" and text else text
        return {"status": answer.status, "type": kind, "body": parsed}

    def send(self, method: str, path: str, body: Any, **headers: str) -> Any:
        """A JSON request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(method, path, json.dumps(body).encode(), {"Content-Type": "application/json", **named})

    def predict(self, **given: Any) -> Any:
        return self.send("POST", "/predictions", {"input": given})

    def health(self) -> Any:
        return self.request("GET", "/health-check")["body"]

    def wait(self, *wanted: str) -> Any:
        """Until health is one of `wanted`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                health = self.health()
                if health["status"] in wanted:
                    return health
            assert self.process.poll() is None, self.name
            time.sleep(0.01)
        raise AssertionError(f"{self.name} never became {wanted}: {self.health()}")

    def rested(self) -> Side:
        """Itself, once nothing runs: Cog answers a prediction before its slot is free, and refuses the next one."""
        self.wait("READY", "SETUP_FAILED", "UNHEALTHY", "DEFUNCT")
        return self

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def end(self, *, patience: float) -> None:
        """After `stop`."""
        self.hooks.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        self._output.close()
        self._hold.close()


class Hooks:
    """A receiver of webhooks."""

    def __init__(self) -> None:
        received: defaultdict[str, list[Any]] = defaultdict(list)

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name: self.headers[name] for name in ("Content-Type", "Authorization", "traceparent")}
                received[self.path].append({"headers": headers, "body": body})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._received = received
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def ended(self, path: str, *, at_least: int) -> list[Any]:
        """What came to `path`, once a prediction in its final state has, and so many: Cog's may overtake each other."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.now(path)
            if any(_is_final(hook) for hook in found) and len(found) >= at_least:
                time.sleep(0.03)  # for what is too much
                return sorted(self.now(path), key=_is_final)
            time.sleep(0.005)
        raise AssertionError(f"no end at {path}: {self._received[path]}")

    def now(self, path: str) -> list[Any]:
        return list(self._received[path])

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Pairs:
    """By model: upstream's server and ours."""

    def __init__(self, folder: Path, *, upstream: Path) -> None:
        self._folder = folder
        self._upstream = upstream
        self._pairs: dict[str, tuple[Side, Side]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sides = [side for pair in self._pairs.values() for side in pair]
        for side in sides:
            side.stop()
        for side in sides:
            side.end(patience=PATIENCE if side.name == "ours" else 1)
        assert all(side.process.returncode == 0 for side in sides if side.name == "ours")

    def of(self, name: str) -> tuple[Side, Side]:
        """Upstream's and ours, both done with their setup."""
        if name not in self._pairs:
            theirs = self._start("upstream", name, self._upstream, {})
            folder = self._folder / "venv"
            python = folder / "bin/python" if folder.exists() else make_venv(folder, base=BASE, minor=MINOR)
            ours = self._start("ours", name, python, {"COGSMITH_SERVER_PATH": str(SERVER_PACKAGES)})
            self._pairs[name] = (theirs, ours)
            for side in self._pairs[name]:
                side.wait("READY", "SETUP_FAILED", "UNHEALTHY")
        return self._pairs[name]

    def _start(self, side: str, name: str, python: Path, environment: dict[str, str]) -> Side:
        model = MODELS[name]
        folder = self._folder / f"{name}-{side}"
        project = folder / "src"
        project.mkdir(parents=True)
        for file, source in model.files().items():
            (project / file).write_text(textwrap.dedent(source))
        if model.schema:
            (project / ".cog").mkdir()
            train = "train.py:train" if model.train else None
            document = schema.document(project, run="run.py:Runner", train=train, version="0.1.0")
            (project / ".cog/openapi_schema.json").write_text(json.dumps(document))
        return Side(side, python, model, folder, environment)


def _is_final(hook: dict[str, Any]) -> bool:
    return hook["body"]["status"] in ("succeeded", "failed", "canceled")


def _events(text: str) -> list[dict[str, Any]]:
    """Server-sent events, comments left out."""
    found = []
    for block in re.split(r"\r?\n\r?\n", text):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append({"event": fields.get("event"), "data": json.loads(fields["data"])})
    return found
