"""The model as a service: a worker that is kept alive, its setup, and the predictions that it runs.

Standard library and the SDK only; knows nothing of HTTP.  One event loop, no locks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
from typing import Any, Callable, Dict, List, Optional, Protocol

import cog
from cog.server.console import Console
from cog.server.prediction import Prediction, now
from cog.server.process import how_it_ended
from cog.server.settings import Settings
from cog.worker.protocol import PROTOCOL, Cancel, Done, Hello, Log, Metric, Output, Predict, Setup, SetupDone, Stop

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a worker is started again, by how many died without finishing a prediction in between."""

SETUP_TRIES = 5
"""After a crash: how many times in a row setup may fail before the service gives up."""

CANCEL_GRACE = 10.0
"""Seconds that a canceled prediction has to end before its worker is replaced."""

READY_FILE = "/var/run/cog/ready"


class Worker(Protocol):
    """What the service needs of a worker process."""

    def attach(
        self,
        *,
        on_message: Callable[[Any], None],
        on_text: Callable[[str, str], None],
        on_exit: Callable[[int], None],
    ) -> None:
        """Start to listen, in the running loop."""

    def send(self, message: Any) -> None:
        """Queue a message."""

    def kill(self) -> None:
        """End it now."""


class NotReadyError(Exception):
    """No prediction can be taken: setup has not finished, or failed."""


class BusyError(Exception):
    """As many predictions run as may."""


@dataclasses.dataclass
class SetupState:
    """What `/health-check` says of the setup."""

    started_at: str
    status: str = "starting"
    completed_at: Optional[str] = None
    logs: List[str] = dataclasses.field(default_factory=list)

    def end(self, status: str) -> None:
        """It succeeded or failed."""
        self.status, self.completed_at = status, now()

    def view(self) -> Dict[str, Any]:
        """As JSON."""
        view = {"started_at": self.started_at, "status": self.status, "logs": "".join(self.logs)}
        return view if self.completed_at is None else {**view, "completed_at": self.completed_at}


class Service:
    """Keeps one worker alive and hands it predictions.

    `spawn` starts a worker process; `first`, if given, is one that was started already.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        spawn: Callable[[], Worker],
        folder: str,
        console: Console,
        first: Optional[Worker] = None,
    ) -> None:
        self._settings = settings
        self._spawn = spawn
        self._folder = folder
        self._console = console
        self._worker = first
        self._ready = False
        self._was_ready = False
        self._stopping = False
        self._given_up: Optional[str] = None
        self._deaths = 0
        self._setup_failures = 0
        self._counter = 0
        self._concurrency = 1
        self._python = ""
        self._timer: Optional[asyncio.TimerHandle] = None
        self._running: Dict[str, Prediction] = {}
        self._gone = asyncio.Event()
        self.setup = SetupState(now())

    def start(self) -> None:
        """Attach the first worker; setup goes on in the background."""
        self._start_worker(self._worker)

    def health(self) -> Dict[str, Any]:
        """The body of `/health-check`."""
        version = {"cogsmith": cog.__version__, "python_sdk": cog.__version__, "python": self._python}
        return {"status": self.status, "setup": self.setup.view(), "version": version}

    @property
    def status(self) -> str:
        """One of the states of spec section 4.6."""
        if self._given_up:
            return self._given_up
        if not self._ready:
            return "STARTING"
        return "BUSY" if len(self._running) >= self._concurrency else "READY"

    def predict(
        self, given: Dict[str, Any], *, identity: str, folder: str, files: List[Dict[str, Any]], context: Dict[str, str]
    ) -> Prediction:
        """Hand an input to the worker.  Raises NotReadyError and BusyError (see `check`)."""
        self.check()
        prediction = Prediction(identity, number=os.path.basename(folder), folder=folder)
        assert self._worker is not None
        self._worker.send(Predict(prediction.number, given, folder, files, context))
        self._running[prediction.number] = prediction
        prediction.begin()
        return prediction

    def check(self) -> None:
        """Raise NotReadyError or BusyError if no prediction can be taken now."""
        if not self._ready or self._stopping:
            raise NotReadyError
        if len(self._running) >= self._concurrency:
            raise BusyError

    def running(self, identity: str) -> Optional[Prediction]:
        """The prediction in flight that a client knows by this id."""
        return next((prediction for prediction in self._running.values() if prediction.id == identity), None)

    def cancel(self, prediction: Prediction) -> None:
        """Interrupt a prediction; may be repeated.  One that does not heed it costs the worker its life."""
        if prediction.finished.is_set() or prediction.cancel_asked:
            return
        prediction.cancel_asked = True
        if self._worker is not None:
            self._worker.send(Cancel(prediction.number))
        asyncio.get_running_loop().call_later(CANCEL_GRACE, self._insist, prediction)

    def _insist(self, prediction: Prediction) -> None:
        # Others that run at the same time are worth more than this slot.
        if self._worker is not None and list(self._running.values()) == [prediction]:
            self._console.say(
                f"a canceled prediction did not end in {CANCEL_GRACE:g} s: ending its worker", level="warning"
            )
            self._worker.kill()

    def hold(self, prediction: Prediction) -> None:
        """Keep a prediction's files until `release`."""
        prediction.answers += 1

    def release(self, prediction: Prediction) -> None:
        """An answer was sent; with the last one of a finished prediction its files go."""
        prediction.answers -= 1
        if not prediction.answers and prediction.finished.is_set():
            self.discard(prediction.folder)

    def new_folder(self) -> str:
        """The name of a folder for a prediction's files; whoever puts the first one there makes it."""
        self._counter += 1
        return os.path.join(self._folder, str(self._counter))

    def discard(self, folder: str) -> None:
        """Remove a prediction's files."""
        shutil.rmtree(folder, ignore_errors=True)

    async def stop(self, *, grace: float = 2.0) -> None:
        """End the worker; it has `grace` seconds."""
        self._stopping = True
        if self._worker is None:
            return
        self._worker.send(Stop())
        try:
            await asyncio.wait_for(self._gone.wait(), grace)
        except asyncio.TimeoutError:
            self._worker.kill()
            await self._gone.wait()

    def _start_worker(self, worker: Optional[Worker] = None) -> None:
        if self._stopping:
            return
        try:
            worker = worker or self._spawn()
            worker.attach(on_message=self._on_message, on_text=self._on_text, on_exit=self._on_exit)
        except (OSError, RuntimeError) as problem:  # no memory, no process, no descriptor, no thread
            self._worker = None
            self._lost(f"Worker cannot be started: {problem}")
            return
        self._gone.clear()
        self._worker = worker
        worker.send(Setup(self._settings.ref, self._settings.mode, self._folder, self._settings.concurrency))
        if self._settings.setup_timeout:
            self._timer = asyncio.get_running_loop().call_later(self._settings.setup_timeout, self._setup_timed_out)

    def _on_message(self, message: Any) -> None:
        if isinstance(message, Log):
            self._log(message.id, message.source, message.text)
        elif isinstance(message, Hello):
            self._python = message.python
            if message.protocol != PROTOCOL and self._worker is not None:
                self._worker.kill()
        elif isinstance(message, SetupDone):
            self._setup_done(message)
        else:
            prediction = self._running.get(message.id)
            if prediction is None:
                return
            if isinstance(message, Output):
                prediction.add_output(message)
            elif isinstance(message, Metric):
                prediction.add_metric(message)
            elif isinstance(message, Done):
                del self._running[message.id]
                self._deaths = 0
                try:
                    prediction.end(message)
                except Exception:
                    prediction.abort("Prediction failed: the worker's answer is malformed")
                    raise

    def _on_text(self, source: str, text: str) -> None:
        sole = next(iter(self._running)) if len(self._running) == 1 else None
        self._log(sole, source, text)

    def _log(self, number: Optional[str], source: str, text: str) -> None:
        self._console.pass_on(source, text)
        prediction = self._running.get(number) if number else None
        if prediction is not None:
            prediction.log(text)
        elif self.setup.status == "starting":
            self.setup.logs.append(text)

    def _setup_done(self, message: SetupDone) -> None:
        self._stop_timer()
        if message.error is not None:
            self._setup_failed(f"Setup failed: {message.error}")
            return
        self._ready = self._was_ready = True
        self._setup_failures = 0
        self._concurrency = message.concurrency
        self.setup.end("succeeded")
        if self._settings.kubernetes:
            _touch(READY_FILE)

    def _setup_failed(self, error: str) -> None:
        self.setup.logs.append(f"{error}\n")
        self.setup.end("failed")
        self._console.say(error, level="error")
        self._setup_failures += 1
        if not self._was_ready:
            self._given_up = "SETUP_FAILED"
        elif self._setup_failures >= SETUP_TRIES:
            self._given_up = "DEFUNCT"

    def _setup_timed_out(self) -> None:
        self._setup_failed(f"Setup failed: not finished after {self._settings.setup_timeout:g} seconds")
        if self._worker is not None:
            self._worker.kill()

    def _on_exit(self, code: int) -> None:
        self._stop_timer()
        self._worker = None
        self._gone.set()
        self._ready = False
        self._lost(f"Worker crashed: {how_it_ended(code)}")

    def _lost(self, reason: str) -> None:
        """There is no worker any more, or none could be started."""
        if self.setup.status == "starting" and not self._stopping:
            self._setup_failed(f"Setup failed: {reason}")
        for prediction in self._running.values():
            prediction.abort("The server is shutting down" if self._stopping else reason)
        self._running.clear()
        if self._stopping or self._given_up:
            return
        delay = BACK_OFF[min(self._deaths, len(BACK_OFF) - 1)]
        self._deaths += 1
        what = "Trying setup again" if self._setup_failures else f"{reason}; starting another one"
        self._console.say(what + (f" in {delay:g} s" if delay else ""), level="warning")
        self.setup = SetupState(now())
        asyncio.get_running_loop().call_later(delay, self._start_worker)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _touch(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab"):
            pass
    except OSError:
        pass
