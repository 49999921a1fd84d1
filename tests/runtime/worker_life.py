"""A real worker process without a server: messages in, messages out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cog.server.process import WorkerProcess
from cog.worker.protocol import Done, Hello, Log, Metric, Output, Predict, Setup, SetupDone, Stop
from runtime_image import PATIENCE, SDK


class Life:
    """A worker under way; everything that it sends is in `received`, what it writes directly in `text`."""

    def __init__(self, folder: Path, *, python: str, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.received: list[Any] = []
        self.text = ""
        self.code: int | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        (folder / "exchange").mkdir()
        self.process = WorkerProcess(
            python=python, sdk=str(SDK), folder=str(folder / "exchange"), environment={**os.environ, **environment}
        )
        self._call(
            lambda: self.process.attach(on_message=self._on_message, on_text=self._on_text, on_exit=self._on_exit)
        )

    def _call(self, function: Callable[[], None]) -> None:
        async def call() -> None:
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE)

    def _on_message(self, message: Any) -> None:
        with self._changed:
            if isinstance(message, Log):
                self.text += message.text
            self.received.append(message)
            self._changed.notify_all()

    def _on_text(self, source: str, text: str) -> None:
        with self._changed:
            self.text += text
            self.received.append(Log(None, source, text))
            self._changed.notify_all()

    def _on_exit(self, code: int) -> None:
        with self._changed:
            self.code = code
            self._changed.notify_all()

    def send(self, message: Any) -> None:
        self._call(lambda: self.process.send(message))

    def setup(self, ref: str = "run.py:Runner", *, mode: str = "predict", **more: Any) -> SetupDone:
        """Load the model; what it answers."""
        self.send(Setup(ref, mode, str(self.folder / "exchange"), **more))
        return self.find(SetupDone)

    def start(self, number: str, *, context: Mapping[str, str] | None = None, mode: str = "", **given: Any) -> None:
        """Begin a prediction."""
        self.send(Predict(number, given, str(self.folder / "exchange" / number), [], dict(context or {}), mode))

    def predict(self, number: str = "1", **given: Any) -> Done:
        """A prediction to its end."""
        self.start(number, **given)
        return self.find(Done, number)

    def find(self, kind: type, number: Any = None) -> Any:
        """Wait for a message; AssertionError if the worker ends before, or never sends it."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for message in self.received:
                    if type(message) is kind and (number is None or message.id == number):
                        return message
                assert self.code is None, (self.code, self.text)
                assert self._changed.wait(deadline - time.monotonic()), (kind, number, self.received)

    def wait_for(self, text: str) -> None:
        """Wait until it has written `text`."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while text not in self.text:
                assert self._changed.wait(deadline - time.monotonic()), self.text

    def ended(self) -> int:
        """Wait for its end; the code."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while self.code is None:
                assert self._changed.wait(deadline - time.monotonic()), self.received
        return self.code

    def logs(self, number: str | None) -> str:
        return "".join(it.text for it in self.received if isinstance(it, Log) and it.id == number)

    def items(self, number: str) -> list[Any]:
        return [it.value for it in self.received if isinstance(it, Output) and it.id == number]

    def metrics(self, number: str) -> list[tuple[str, Any, str]]:
        return [(it.name, it.value, it.mode) for it in self.received if isinstance(it, Metric) and it.id == number]

    @property
    def python(self) -> str:
        hello: Hello = self.find(Hello)
        return hello.python

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.send(Stop())
        deadline = time.monotonic() + 3
        with self._changed:
            while self.code is None and self._changed.wait(deadline - time.monotonic()):
                pass
        if self.code is None:
            self._call(self.process.kill)
            self.ended()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def living(
    folder: Path, source: str, *, python: str = sys.executable, files: Mapping[str, str] | None = None, **variables: str
) -> Iterator[Life]:
    """A worker in a folder with the model `source` as its `run.py`; not set up yet."""
    (folder / "src").mkdir()
    (folder / "tmp").mkdir()
    for name, text in {"run.py": source, **(files or {})}.items():
        (folder / "src" / name).write_text(textwrap.dedent(text))
    # A worker runs where its server does; this one's is the tests' own process, so it is told.
    (folder / "start").write_text(f'#!/bin/sh\ncd "{folder / "src"}" && exec "{python}" "$@"\n')
    (folder / "start").chmod(0o755)
    life = Life(folder, python=str(folder / "start"), environment={"TMPDIR": str(folder / "tmp"), **variables})
    try:
        yield life
    finally:
        life.close()


@contextlib.contextmanager
def ready(folder: Path, source: str, **options: Any) -> Iterator[Life]:
    """The same, set up."""
    with living(folder, source, **options) as life:
        done = life.setup()
        assert done.error is None, life.text
        yield life
