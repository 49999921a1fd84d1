"""Keeps one worker alive: its setup, its end, the next one after a pause, and what health says of all that.

Standard library and the SDK only; knows nothing of HTTP or of predictions.  One event loop, no locks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any, Callable, Dict, List, Optional, Protocol

from cog.server.console import Console
from cog.server.prediction import now
from cog.server.process import how_it_ended
from cog.server.settings import Settings
from cog.worker.protocol import PROTOCOL, Hello, Setup, SetupDone, Stop

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a worker is started again, by how many died without finishing a prediction in between."""

SETUP_TRIES = 5
"""After a crash: how many times in a row setup may fail before the service gives up."""


class Worker(Protocol):
    """What is needed of a worker process."""

    @property
    def gone(self) -> bool:
        """It takes no more messages, whether its end was told yet or not."""

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


class Owner(Protocol):
    """Whom the supervisor tells."""

    def on_message(self, message: Any) -> None:
        """What the worker says beyond its setup."""

    def on_text(self, source: str, text: str) -> None:
        """What it writes to its standard output or error."""

    def on_ready(self, seconds: Optional[float]) -> None:
        """Predictions can be taken, after a setup of so many seconds; None: not any more."""

    def on_lost(self, reason: str) -> None:
        """The worker is gone, and with it what it was doing."""


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


class Supervisor:
    """`spawn` starts a worker process; `first`, if given, is one that was started already."""

    def __init__(
        self,
        settings: Settings,
        *,
        owner: Owner,
        spawn: Callable[[], Worker],
        folder: str,
        console: Console,
        first: Optional[Worker] = None,
    ) -> None:
        self._settings = settings
        self._owner = owner
        self._spawn = spawn
        self._folder = folder
        self._console = console
        self._worker = first
        self._was_ready = False
        self._began = 0.0
        self._deaths = 0
        self._setup_failures = 0
        self._timer: Optional[asyncio.TimerHandle] = None
        self._gone = asyncio.Event()
        self._killed: Optional[str] = None
        self._ready = False
        self.stopping = False
        self.given_up: Optional[str] = None
        self.restarts = 0
        self.last_exit: Optional[str] = None
        self.concurrency = 1
        self.python = ""
        self.has_healthcheck = False
        self.setup = SetupState(now())

    def start(self) -> None:
        """Attach the first worker; setup goes on in the background."""
        self._start_worker(self._worker)

    @property
    def ready(self) -> bool:
        """There is a worker that is set up and takes predictions."""
        return self._ready and self._worker is not None and not self._worker.gone

    def send(self, message: Any) -> None:
        """A message to the worker, if there is one.  ValueError if it holds what JSON has not."""
        if self._worker is not None:
            self._worker.send(message)

    def kill(self, reason: str) -> None:
        """End the worker now; what follows is as after a crash, but for the `reason` that is told."""
        if self._worker is not None:
            if not self._worker.gone:
                self._killed = reason
            self._worker.kill()

    def proved(self) -> None:
        """The worker has done some work: its predecessors' deaths are forgotten."""
        self._deaths = 0

    async def stop(self, *, grace: float = 2.0) -> None:
        """End the worker for good; it has `grace` seconds."""
        self.stopping = True
        if self._worker is None:
            return
        self._worker.send(Stop())
        try:
            await asyncio.wait_for(self._gone.wait(), grace)
        except asyncio.TimeoutError:
            self._worker.kill()
            await self._gone.wait()

    def _start_worker(self, worker: Optional[Worker] = None) -> None:
        if self.stopping:
            return
        try:
            worker = worker or self._spawn()
            worker.attach(on_message=self._on_message, on_text=self._on_text, on_exit=self._on_exit)
        except (OSError, RuntimeError) as problem:  # no memory, no process, no descriptor, no thread
            self._worker = None
            self._lost(f"Worker cannot be started: {problem}")
            return
        self._gone.clear()
        self._killed = None
        self._worker = worker
        self._began = time.monotonic()
        settings = self._settings
        worker.send(
            Setup(
                settings.ref,
                settings.mode,
                self._folder,
                settings.concurrency,
                upload_url=settings.upload_url,
                train_ref=settings.train_ref,
            )
        )
        if settings.setup_timeout:
            self._timer = asyncio.get_running_loop().call_later(settings.setup_timeout, self._setup_timed_out)

    def _on_message(self, message: Any) -> None:
        if isinstance(message, Hello):
            self.python = message.python
            if message.protocol != PROTOCOL:
                self.kill(f"its protocol is {message.protocol}, not {PROTOCOL}")
        elif isinstance(message, SetupDone):
            self._setup_done(message)
        else:
            self._owner.on_message(message)

    def _on_text(self, source: str, text: str) -> None:
        self._owner.on_text(source, text)

    def _setup_done(self, message: SetupDone) -> None:
        self._stop_timer()
        if message.error is not None:
            self._setup_failed(f"Setup failed: {message.error}")
            return
        self._ready = self._was_ready = True
        self._setup_failures = 0
        self.concurrency = message.concurrency
        self.has_healthcheck = message.healthcheck
        self.setup.end("succeeded")
        self._owner.on_ready(time.monotonic() - self._began)

    def _setup_failed(self, error: str) -> None:
        self.setup.logs.append(f"{error}\n")
        self.setup.end("failed")
        self._console.say(error, level="error")
        self._setup_failures += 1
        if not self._was_ready:
            self.given_up = "SETUP_FAILED"
        elif self._setup_failures >= SETUP_TRIES:
            self.given_up = "DEFUNCT"

    def _setup_timed_out(self) -> None:
        late = f"not finished after {self._settings.setup_timeout:g} seconds"
        self._setup_failed(f"Setup failed: {late}")
        self.kill(f"setup {late}")

    def _on_exit(self, code: int) -> None:
        self._stop_timer()
        self._worker = None
        self._gone.set()
        self._lost(f"Worker ended: {self._killed}" if self._killed else f"Worker crashed: {how_it_ended(code)}")

    def _lost(self, reason: str) -> None:
        """There is no worker any more, or none could be started."""
        was_ready, self._ready = self._ready, False
        if self.setup.status == "starting" and not self.stopping:
            self._setup_failed(f"Setup failed: {reason}")
        if was_ready:
            self._owner.on_ready(None)
        self._owner.on_lost("The server is shutting down" if self.stopping else reason)
        if self.stopping or self.given_up:
            return
        self.restarts += 1
        self.last_exit = reason
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
