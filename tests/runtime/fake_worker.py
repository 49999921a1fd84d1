"""The application in process, with a worker that does what the test says."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cog.server.app import make_app
from cog.server.client import Client
from cog.server.console import Console
from cog.server.service import Service
from cog.server.settings import Settings
from cog.server.webhooks import Webhooks
from cog.worker.protocol import PROTOCOL, Done, Hello, Log, Predict, Setup, SetupDone, Stop
from fastapi.testclient import TestClient

Script = Callable[["FakeWorker", Any], None]


class FakeWorker:
    """Answers each message as its script does, at once and in the event loop."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received: list[Any] = []
        self.dead = False
        self.gone = False

    def attach(self, *, on_message: Any, on_text: Any, on_exit: Any) -> None:
        self.say, self.text, self._on_exit = on_message, on_text, on_exit

    def send(self, message: Any) -> None:
        import asyncio

        self.received.append(message)
        asyncio.get_running_loop().call_soon(self.script, self, message)

    def exit(self, code: int) -> None:
        if not self.dead:
            self.dead = True
            self._on_exit(code)

    def kill(self) -> None:
        self.exit(-9)


def obedient(answer: Callable[[FakeWorker, Predict], None]) -> Script:
    """A worker that sets up, stops, and answers predictions with `answer`."""

    def script(worker: FakeWorker, message: Any) -> None:
        if isinstance(message, Setup):
            worker.say(Hello(PROTOCOL, "3.11.0", "0"))
            worker.say(Log(None, "stdout", "ready soon\n"))
            worker.say(SetupDone(None))
        elif isinstance(message, Stop):
            worker.exit(0)
        elif isinstance(message, Predict):
            answer(worker, message)

    return script


def echo(worker: FakeWorker, message: Predict) -> None:
    worker.say(Done(message.id, "succeeded", value=message.input, seconds=0.5))


class Running:
    def __init__(self, client: TestClient, workers: list[FakeWorker], folder: Path) -> None:
        self.client = client
        self.workers = workers
        self.folder = folder
        self.stopped = threading.Event()

    def predict(self, given: Any) -> Any:
        return self.client.post("/predictions", json={"input": given}).json()

    def wait(self, status: str) -> Any:
        deadline = time.monotonic() + 30
        while (health := self.client.get("/health-check").json())["status"] != status:
            assert time.monotonic() < deadline, health
            time.sleep(0.005)
        return health


Start = Callable[..., Running]


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """A function that starts an application: its worker's script, its schema, more settings."""
    opened: list[TestClient] = []

    def start(script: Script, *, schema: Any = None, refused: Iterable[OSError] = (), **more: Any) -> Running:
        workers: list[FakeWorker] = []
        refusals = iter(refused)

        def spawn() -> FakeWorker:
            if workers and (problem := next(refusals, None)):
                raise problem
            workers.append(FakeWorker(script))
            return workers[-1]

        settings = Settings(ref="run.py:Runner", version="v1", **more)
        console = Console()
        service = Service(settings, spawn=spawn, folder=str(folder), console=console)
        body = None if schema is None else json.dumps(schema).encode()
        stopped = threading.Event()
        webhooks = Webhooks(
            Client(user_agent="cogsmith/test"),
            console=console,
            interval=settings.throttle,
            token=settings.webhook_token,
        )
        app = make_app(
            service, settings=settings, webhooks=webhooks, document=body, parsed=schema or {}, shut_down=stopped.set
        )
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        result = Running(client, workers, folder)
        result.stopped = stopped
        return result

    yield start
    for client in opened:
        client.__exit__(None, None, None)
