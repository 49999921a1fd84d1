"""Loads the model, sets it up and runs its predictions, as the server asks.  Standard library and the SDK only.

A thread reads the server's messages; predictions run in the main thread, as tasks of one event loop if the run
method is asynchronous and one after the other if not.  `sys.exit` in a model fails a prediction, not the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import inspect
import os
import platform
import queue
import socket
import sys
import threading
import time
import traceback
from collections import abc
from typing import Any, Callable, Dict, Optional

import cog
from cog.exceptions import CancelationException
from cog.predictor import load_predictor_from_ref, run_method, train_method
from cog.scope import CURRENT, Scope
from cog.worker.capture import PREDICTION, Capture
from cog.worker.inputs import InputError, Signature
from cog.worker.interrupt import Interrupter
from cog.worker.outputs import OutputError, Outputs, file_clock
from cog.worker.protocol import PROTOCOL, Cancel, Channel, Done, Hello, Metric, Output, Predict, Setup, SetupDone, Stop


class SetupError(Exception):
    """The model cannot be served; the text says why."""


class Model:
    """A loaded model and what the worker must know of its run method."""

    def __init__(self, setup: Setup) -> None:
        self.target = load_predictor_from_ref(setup.ref)
        self.function = train_method(self.target) if setup.mode == "train" else run_method(self.target)
        self.signature = Signature(self.function)
        bare = inspect.unwrap(self.function)
        self.asynchronous = inspect.iscoroutinefunction(bare) or inspect.isasyncgenfunction(bare)
        marked = getattr(self.function, "__cog_concurrent_max__", None)
        self.concurrency = setup.concurrency or marked or 1
        if self.concurrency > 1 and not self.asynchronous:
            raise SetupError("more than one prediction at a time requires an async run() or predict() method")

    def setup(self) -> Any:
        """Call the model's `setup`, if it has one; gives an awaitable if that is asynchronous."""
        function = None if inspect.isfunction(self.target) else getattr(self.target, "setup", None)
        if not callable(function):
            return None
        if "weights" not in inspect.signature(function).parameters:
            return function()
        given = {"weights": os.environ.get("COG_WEIGHTS") or None}
        return function(weights=Signature(function).arguments(given, files=[], folder="")["weights"])


class Worker:
    """The state of this process: the channel to the server, the captured streams, the model."""

    def __init__(self, channel: Channel, *, pipes: Dict[str, int]) -> None:
        self._channel = channel
        self._interrupter = Interrupter()
        self._capture = Capture(self._send, pipes=pipes)
        self._capture.install()
        os.register_at_fork(after_in_child=channel.abandon)
        self._inbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._deliver: Callable[[Any], Any] = self._inbox.put
        self._tasks: Dict[str, "asyncio.Task[None]"] = {}
        self._interrupts = True
        """Whether a cancel goes to the main thread as a signal; else it is a message like the others."""

    def serve(self) -> None:
        """Live until the server says stop or is gone."""
        version = cog.__version__
        self._send(Hello(PROTOCOL, platform.python_version(), version))
        setup = self._channel.receive()
        if not isinstance(setup, Setup):
            return
        self._channel.folder = setup.folder
        threading.Thread(target=self._read, name="cog-reader", daemon=True).start()
        try:
            model = Model(setup)
        except BaseException as problem:  # noqa: BLE001  # sys.exit included
            self._report_setup(problem)
            return
        if model.asynchronous:
            asyncio.run(self._serve_async(model))
        else:
            self._serve_sync(model)

    def _read(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except OSError:
                message = None
            if message is None:
                os._exit(0)
            if isinstance(message, Cancel) and self._interrupts:
                self._interrupter.cancel(message.id)
            else:
                self._deliver(message)

    def _send(self, message: Any) -> None:
        with self._interrupter.shield():
            self._channel.send(message)

    def _report_setup(self, problem: Optional[BaseException], model: Optional[Model] = None) -> None:
        if problem is not None and not isinstance(problem, SetupError):
            _show(problem)
        self._capture.settle()
        error = None if problem is None else _brief(problem)
        self._send(SetupDone(error, model.concurrency if model else 1))

    def _serve_sync(self, model: Model) -> None:
        try:
            pending = model.setup()
            if inspect.isawaitable(pending):
                asyncio.run(_awaited(pending))
        except BaseException as problem:  # noqa: BLE001
            self._report_setup(problem)
            return
        self._report_setup(None, model)
        while True:
            message = self._inbox.get()
            if isinstance(message, Stop):
                return
            self._predict(model, message)

    def _predict(self, model: Model, message: Predict) -> None:
        run = Run(message, send=self._send)
        self._capture.sole = message.id
        with run.context():
            try:
                with self._interrupter.running(message.id):
                    arguments = run.arguments(model)
                    result = model.function(**arguments)
                    if inspect.isawaitable(result):
                        result = asyncio.run(_awaited(result))
                    if isinstance(result, abc.Iterator):
                        for item in result:
                            run.item(item)
                    else:
                        run.final(result)
            except BaseException as problem:  # noqa: BLE001  # SystemExit, KeyboardInterrupt and cancelation too
                run.failed(problem)
            self._finish(run)
        self._capture.sole = None

    def _finish(self, run: "Run") -> None:
        self._capture.settle()
        self._send(run.done())

    async def _serve_async(self, model: Model) -> None:
        loop = asyncio.get_running_loop()
        arrived: "asyncio.Queue[Any]" = asyncio.Queue()
        self._interrupts = False
        self._deliver = lambda message: loop.call_soon_threadsafe(arrived.put_nowait, message)
        while not self._inbox.empty():
            arrived.put_nowait(self._inbox.get())
        try:
            pending = model.setup()
            if inspect.isawaitable(pending):
                await pending
        except BaseException as problem:  # noqa: BLE001
            self._report_setup(problem)
            return
        self._report_setup(None, model)
        while True:
            message = await arrived.get()
            if isinstance(message, Stop):
                return
            if isinstance(message, Cancel):
                if message.id in self._tasks:
                    self._tasks[message.id].cancel()
                continue
            task = loop.create_task(self._predict_async(model, message))
            self._tasks[message.id] = task
            task.add_done_callback(functools.partial(self._forget, message.id))

    def _forget(self, prediction: str, task: "asyncio.Task[None]") -> None:
        del self._tasks[prediction]
        self._capture.sole = next(iter(self._tasks)) if len(self._tasks) == 1 else None
        if task.cancelled():  # before it had begun
            self._send(Done(prediction, "canceled", iterated=True))

    async def _predict_async(self, model: Model, message: Predict) -> None:
        run = Run(message, send=self._send)
        self._capture.sole = message.id if len(self._tasks) == 1 else None
        with run.context():
            try:
                arguments = await asyncio.get_running_loop().run_in_executor(None, run.arguments, model)
                result = model.function(**arguments)
                if hasattr(result, "__aiter__"):
                    async for item in result:
                        run.item(item)
                else:
                    run.final(await result)
            except BaseException as problem:  # noqa: BLE001
                run.failed(problem)
            self._finish(run)


class Run:
    """One prediction under way: what it has given so far, and how it ended."""

    def __init__(self, message: Predict, *, send: Callable[[Any], None]) -> None:
        self._message = message
        self._send = send
        self._outputs = Outputs(message.folder, since=file_clock())
        self._began: Optional[float] = None
        self._seconds: Optional[float] = None
        self._fields: Dict[str, Any] = {"status": "succeeded", "iterated": True}

    @contextlib.contextmanager
    def context(self) -> Any:
        """Make this prediction the current one."""
        scope = Scope(context=self._message.context, publish=self._metric)
        tokens = PREDICTION.set(self._message.id), CURRENT.set(scope)
        try:
            yield
        finally:
            PREDICTION.reset(tokens[0])
            CURRENT.reset(tokens[1])

    def arguments(self, model: Model) -> Dict[str, Any]:
        """The arguments of the run method; the clock of `predict_time` starts after them."""
        message = self._message
        given = model.signature.arguments(message.input, files=message.files, folder=message.folder)
        self._began = time.perf_counter()
        return given

    def item(self, value: Any) -> None:
        """An iterator gave `value`."""
        plain, files = self._outputs.item(value)
        self._send(Output(self._message.id, plain, files))

    def final(self, value: Any) -> None:
        """The run method returned `value`."""
        self._stop_clock()
        plain, files = self._outputs.final(value)
        self._fields = {"status": "succeeded", "value": plain, "files": files}

    def failed(self, problem: BaseException) -> None:
        """The run method raised, or its output cannot be sent."""
        if isinstance(problem, (CancelationException, asyncio.CancelledError)):
            self._fields = {**self._fields, "status": "canceled"}
            return
        if isinstance(problem, InputError):
            error = f"Input validation error: {problem}"
        elif isinstance(problem, OutputError):
            error = f"Prediction failed: {problem}"
        else:
            _show(problem)
            error = f"Prediction failed: {_brief(problem)}"
        self._fields = {**self._fields, "status": "failed", "error": error}

    def done(self) -> Done:
        """The message that ends this prediction."""
        self._stop_clock()
        self._outputs.tidy()
        return Done(self._message.id, seconds=self._seconds, **self._fields)

    def _stop_clock(self) -> None:
        if self._began is not None and self._seconds is None:
            self._seconds = time.perf_counter() - self._began

    def _metric(self, name: str, value: Any, mode: str) -> None:
        self._send(Metric(self._message.id, name, value, mode))


async def _awaited(value: Any) -> Any:
    return await value


def _brief(problem: BaseException) -> str:
    text = str(problem)
    if isinstance(problem, SetupError):
        return text
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def _show(problem: BaseException) -> None:
    """The traceback, without the worker's own frames, on standard error."""
    frames = problem.__traceback__
    ours = ("cog", "cog.worker", "asyncio", "concurrent.futures", "importlib")
    while frames is not None and frames.tb_frame.f_globals.get("__package__") in ours:
        frames = frames.tb_next
    traceback.print_exception(type(problem), problem, frames or problem.__traceback__, file=sys.stderr)


def main() -> None:
    """`CONTROL STDOUT STDERR`: the descriptors of the socket and of the reading ends of our own output."""
    control, stdout, stderr = (int(word) for word in sys.argv[1:4])
    for number in (control, stdout, stderr):
        os.set_inheritable(number, False)
    del sys.argv[1:]
    faulthandler.enable(file=2)
    sys.path.insert(0, os.getcwd())
    try:
        Worker(Channel(socket.socket(fileno=control)), pipes={"stdout": stdout, "stderr": stderr}).serve()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        # Threads that the model left behind must not keep the process.
        os._exit(0)


if __name__ == "__main__":
    main()
