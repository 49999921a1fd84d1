"""The model as a service: the predictions that its worker runs, and those that have ended.

Standard library and the SDK only; knows nothing of HTTP.  One event loop, no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import Any, Callable, Dict, List, Optional

import cog
from cog.server.answers import size_of
from cog.server.console import Console
from cog.server.prediction import Prediction
from cog.server.recent import Recent
from cog.server.settings import Settings
from cog.server.supervisor import Supervisor, Worker
from cog.worker.protocol import Cancel, Check, Checked, Done, Log, Metric, Output, Predict

CANCEL_GRACE = 10.0
"""Seconds that a canceled prediction has to end before its worker is replaced."""

INSIST_AGAIN = 1.0
"""Seconds between two looks at a canceled prediction that has not ended, while others run beside it."""

CHECK_LIMIT = 10.0
"""Seconds that the worker has to say how the model's own healthcheck went."""

READY_FILE = "/var/run/cog/ready"


class NotReadyError(Exception):
    """No prediction can be taken: setup has not finished, or failed."""


class BusyError(Exception):
    """As many predictions run as may."""


class Service:
    """Hands predictions to a worker that is kept alive, and remembers them for a while.

    `observers` are told by `began(prediction)`, `ended(prediction)`, `refused("busy" or "not_ready")`, `ready(seconds)`
    of a setup, and `lost(reason)`.
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
        self._folder = folder
        self._console = console
        self._counter = 0
        self._running: Dict[str, Prediction] = {}
        self._ids: Dict[str, Prediction] = {}
        self._recent = Recent(forget=self._forget)
        self._checks: Dict[int, "asyncio.Future[Optional[str]]"] = {}
        self._check: Optional["asyncio.Future[Optional[str]]"] = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.observers: List[Any] = []
        self.worker = Supervisor(settings, owner=self, spawn=spawn, folder=folder, console=console, first=first)

    def start(self) -> None:
        """Attach the first worker; setup goes on in the background."""
        self.worker.start()

    async def health(self) -> Dict[str, Any]:
        """The body of `/health-check`; asks the model's own healthcheck, if it has one."""
        problem = await self._checked() if self.worker.ready and self.worker.has_healthcheck else None
        worker = self.worker
        view = {
            "status": self.status,
            "setup": worker.setup.view(),
            "version": {
                "cogsmith": cog.__version__,
                "coglet": cog.__version__,  # this key and the next two: clients of Cog look for them
                "git_sha": "unknown",
                "build_time": "unknown",
                "python_sdk": cog.__version__,
                "python": worker.python,
            },
        }
        if worker.restarts:
            view["worker"] = {"restarts": worker.restarts, "last_exit": worker.last_exit}
        if problem is not None and worker.ready:
            view["status"], view["user_healthcheck_error"] = "UNHEALTHY", problem
        return view

    @property
    def status(self) -> str:
        """One of the states of `GET /health-check`."""
        if self.worker.given_up:
            return self.worker.given_up
        if not self.worker.ready:
            return "STARTING"
        return "BUSY" if len(self._running) >= self.worker.concurrency else "READY"

    def create(
        self, identity: str, *, given: Optional[Callable[[], Any]] = None, version: Optional[str] = None
    ) -> Prediction:
        """A prediction that has not begun.

        `given` makes what clients may see of its input; `version`: what the client calls the model, instead of its own.
        """
        self._counter += 1
        number = str(self._counter)
        folder = f"{self._folder}/{number}"
        return Prediction(
            identity, number=number, folder=folder, given=given, version=version or self._settings.version
        )

    def run(
        self,
        prediction: Prediction,
        given: Dict[str, Any],
        *,
        files: List[Dict[str, Any]],
        context: Dict[str, str],
        mode: str = "",
    ) -> None:
        """Hand it to the worker; `mode` is `train` if it is a training.

        Raises NotReadyError, BusyError, and ValueError if `given` is not JSON.
        """
        self.check()
        if prediction.cancel_asked:  # while its files were being stored
            self._interrupt(prediction)
        self.worker.send(Predict(prediction.number, given, prediction.folder, files, context, mode))
        self._running[prediction.number] = prediction
        self._ids[prediction.id] = prediction
        self._idle.clear()
        prediction.begin()
        for observer in self.observers:
            observer.began(prediction)

    def reserve(self, prediction: Prediction) -> None:
        """Let it be found by its id, before it runs."""
        self._ids[prediction.id] = prediction

    def abandon(self, prediction: Prediction) -> None:
        """It will not run after all."""
        if self._ids.get(prediction.id) is prediction:
            del self._ids[prediction.id]
        if prediction.stream is not None:
            prediction.stream.end()
        self.discard(prediction.folder)

    def check(self) -> None:
        """Raise NotReadyError or BusyError if no prediction can be taken now."""
        if not self.worker.ready or self.worker.stopping:
            for observer in self.observers:
                observer.refused("not_ready")
            raise NotReadyError
        if len(self._running) >= self.worker.concurrency:
            for observer in self.observers:
                observer.refused("busy")
            raise BusyError

    def running(self, identity: str) -> Optional[Prediction]:
        """The prediction in flight that a client knows by this id."""
        return self._ids.get(identity)

    def find(self, identity: str) -> Optional[Prediction]:
        """The same, or the latest one that has ended and is still remembered."""
        return self._ids.get(identity) or self._recent.get(identity)

    def cancel(self, prediction: Prediction) -> None:
        """Interrupt a prediction; may be repeated.  One that does not heed it costs the worker its life."""
        if prediction.finished.is_set() or prediction.cancel_asked:
            return
        prediction.cancel_asked = True
        if prediction.number in self._running:
            self._interrupt(prediction)

    def hold(self, prediction: Prediction) -> None:
        """Keep a prediction's files until `release`."""
        prediction.holders += 1

    def release(self, prediction: Prediction) -> None:
        """An answer was sent; with the last one of a finished prediction its files go."""
        prediction.holders -= 1
        if not prediction.holders and (prediction.finished.is_set() or prediction.number not in self._running):
            self.discard(prediction.folder)

    def discard(self, folder: str) -> None:
        """Remove a prediction's files."""
        if os.access(folder, os.F_OK):
            shutil.rmtree(folder, ignore_errors=True)

    async def drain(self) -> None:
        """Wait until no prediction runs."""
        await self._idle.wait()

    async def stop(self) -> None:
        """End the worker."""
        await self.worker.stop()

    def on_message(self, message: Any) -> None:
        """The worker's."""
        if isinstance(message, Log):
            self._log(message.id, message.source, message.text)
            return
        if isinstance(message, Checked):
            future = self._checks.pop(message.id, None)
            if future is not None and not future.done():
                future.set_result(message.error)
            return
        prediction = self._running.get(message.id)
        if prediction is None:
            return
        if isinstance(message, Done):
            self.worker.proved()
            self._end(prediction, message)
        elif isinstance(message, Output):
            prediction.add_output(message)
        elif isinstance(message, Metric):
            prediction.add_metric(message)

    def on_text(self, source: str, text: str) -> None:
        """What was written by nobody in particular is the only prediction's, if there is only one."""
        self._log(next(iter(self._running)) if len(self._running) == 1 else None, source, text)

    def on_ready(self, seconds: Optional[float]) -> None:
        """Of the supervisor: keeps the file that Kubernetes looks for."""
        if self._settings.kubernetes:
            _mark(READY_FILE, present=seconds is not None)
        if seconds is not None:
            for observer in self.observers:
                observer.ready(seconds)

    def on_lost(self, reason: str) -> None:
        """Of the supervisor: ends what the worker was doing."""
        for future in self._checks.values():
            if not future.done():
                future.set_result(None)
        self._checks.clear()
        for prediction in list(self._running.values()):
            self._end(prediction, None, reason)
        for observer in self.observers:
            observer.lost(reason)

    def _end(self, prediction: Prediction, message: Optional[Done], reason: str = "") -> None:
        del self._running[prediction.number]
        if self._ids.get(prediction.id) is prediction:
            del self._ids[prediction.id]
        if not self._running:
            self._idle.set()
        try:
            if message is None:
                prediction.abort(reason)
            else:
                prediction.end(message)
        except Exception:
            if not prediction.finished.is_set():
                prediction.abort("Prediction failed: the worker's answer is malformed")
            raise
        finally:
            prediction.input = None
            prediction.watchers.clear()
            if prediction.wrote:
                self._console.ended(prediction.id)
            text, files = size_of(prediction)
            self._recent.add(prediction, text=text, files=files)
            for observer in self.observers:
                observer.ended(prediction)

    def _forget(self, prediction: Prediction) -> None:
        if prediction.kept:
            prediction.kept = False
            self.release(prediction)

    def _interrupt(self, prediction: Prediction) -> None:
        self.worker.send(Cancel(prediction.number))
        asyncio.get_running_loop().call_later(CANCEL_GRACE, self._insist, prediction)

    def _insist(self, prediction: Prediction) -> None:
        if prediction.number not in self._running:
            return
        if not all(one.cancel_asked for one in self._running.values()):
            # Others that run at the same time are worth more than this slot.
            asyncio.get_running_loop().call_later(INSIST_AGAIN, self._insist, prediction)
            return
        reason = f"a canceled prediction did not end in {CANCEL_GRACE:g} s"
        self._console.say(f"{reason}: ending its worker", level="warning")
        self.worker.kill(reason)

    def _log(self, number: Optional[str], source: str, text: str) -> None:
        prediction = self._running.get(number) if number else None
        self._console.pass_on(source, text, None if prediction is None else prediction.id)
        if prediction is not None:
            prediction.log(source, text)
        elif self.worker.setup.status == "starting":
            self.worker.setup.logs.append(text)

    async def _checked(self) -> Optional[str]:
        """How the model's healthcheck goes; those who ask at the same time get the same answer."""
        if self._check is None:
            self._counter += 1
            number = self._counter
            self._check = self._checks[number] = asyncio.get_running_loop().create_future()
            self.worker.send(Check(number))
            timer = asyncio.get_running_loop().call_later(CHECK_LIMIT, self._check_late, number)
            try:
                return await asyncio.shield(self._check)
            finally:
                timer.cancel()
                self._check = None
        return await asyncio.shield(self._check)

    def _check_late(self, number: int) -> None:
        future = self._checks.pop(number, None)
        if future is not None and not future.done():
            future.set_result("Healthcheck failed: the worker did not answer in time")


def _mark(path: str, *, present: bool) -> None:
    with contextlib.suppress(OSError):
        if present:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "ab"):
                pass
        else:
            os.unlink(path)
