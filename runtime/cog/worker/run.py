"""A loaded model, and one prediction of it from the arguments to the message that ends it.

Standard library and the SDK only.  asyncio is imported by those who need it: it is slow to start.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import io
import os
import sys
import time
import traceback
from collections import abc
from typing import Any, Callable, Dict, List, Optional, Tuple

from cog.exceptions import CancelationException
from cog.predictor import load_predictor_from_ref, load_target, run_method, train_method
from cog.scope import CURRENT, RUNNING, Scope
from cog.worker.annotations import parameters
from cog.worker.capture import PREDICTION
from cog.worker.inputs import InputError, Signature
from cog.worker.outputs import File, Outputs, file_clock
from cog.worker.plain import OutputError, UploadError
from cog.worker.protocol import Done, Metric, Output, Predict, Setup
from cog.worker.tracing import follow

_PLAIN = frozenset((str, int, float, bool, list, dict, type(None)))
"""Most results: there is nothing to find out about them."""


class SetupError(Exception):
    """The model cannot be served; the text says why."""


class Entry:
    """A function that answers predictions or trainings."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.signature = Signature(function)
        self.asynchronous = _is_asynchronous(inspect.unwrap(function))
        self.waits = not _is_asynchronous(function)
        """Whether to call it may last: a plain wrapper may run the loop of what it wraps."""


class Model:
    """A loaded model and what the worker must know of it."""

    def __init__(self, setup: Setup) -> None:
        if setup.mode == "train":
            self.target = _trainer(setup.ref)
            self._main = Entry(train_method(self.target))
        else:
            self.target = load_predictor_from_ref(setup.ref)
            self._main = Entry(run_method(self.target))
        self._train_ref = setup.train_ref
        self._training: Optional[Entry] = None
        self.asynchronous = self._main.asynchronous
        marked = getattr(self._main.function, "__cog_concurrent_max__", None)
        self.concurrency = setup.concurrency or marked or 1
        self.upload_url = setup.upload_url
        if self.concurrency > 1 and not self.asynchronous:
            raise SetupError("more than one prediction at a time requires an async run() or predict() method")

    def entry(self, mode: str) -> Entry:
        """What answers a `Predict` of this mode; the training's is loaded when the first one comes."""
        if mode != "train" or self._train_ref is None:
            return self._main
        if self._training is None:
            self._training = Entry(train_method(_trainer(self._train_ref)))
        return self._training

    @property
    def healthcheck(self) -> Optional[Callable[[], Any]]:
        """The model's own check of its health, if it has one."""
        function = None if inspect.isroutine(self.target) else getattr(self.target, "healthcheck", None)
        return function if callable(function) else None

    def setup(self) -> Any:
        """Call the model's `setup`, if it has one; gives an awaitable if that is asynchronous."""
        function = None if inspect.isroutine(self.target) else getattr(self.target, "setup", None)
        if not callable(function):
            return None
        if "weights" not in parameters(function):
            return function()
        given = {"weights": os.environ.get("COG_WEIGHTS") or None}
        return function(**Signature(function).arguments(given, files=[]).fetch(""))


def _trainer(ref: str) -> Any:
    target = load_target(ref)
    return target() if inspect.isclass(target) else target


class Run:
    """One prediction under way: what it has given so far, and how it ended."""

    def __init__(self, message: Predict, *, send: Callable[[Any], None], upload_url: Optional[str] = None) -> None:
        self._message = message
        self._send = send
        self._outputs = Outputs(message.folder, since=file_clock(), upload_url=upload_url)
        self._began: Optional[float] = None
        self._seconds: Optional[float] = None
        self._fields: Dict[str, Any] = {"status": "succeeded", "iterated": True}

    def __enter__(self) -> None:
        """Make this prediction the current one."""
        self._token = PREDICTION.set(self._message.id)
        self._scope = Scope(context=self._message.context, publish=self._metric)
        self._token_of_scope = CURRENT.set(self._scope)
        RUNNING.append(self._scope)
        self._leave_trace = follow(self._message.context)

    def __exit__(self, *problem: object) -> None:
        RUNNING.remove(self._scope)
        if self._leave_trace is not None:
            self._leave_trace()
        PREDICTION.reset(self._token)
        CURRENT.reset(self._token_of_scope)

    def perform(self, model: Model) -> None:
        """Run the model in this thread; its output is sent as it comes."""
        entry = model.entry(self._message.mode)
        arguments = entry.signature.arguments(self._message.input, files=self._message.files)
        given = arguments.fetch(self._message.folder)
        self._began = time.perf_counter()
        result = entry.function(**given)
        if type(result) not in _PLAIN:
            result = settled(result)
            if hasattr(result, "__aiter__"):
                settled(self._follow(result))
                return
        if type(result) not in _PLAIN and is_iterator(result):
            for item in result:
                self._item(*self._outputs.take(self._outputs.prepare(item, last=False)))
        else:
            self._stop_clock()
            self._final(*self._outputs.take(self._outputs.prepare(result, last=True)))

    async def perform_async(self, model: Model) -> None:
        """Run the model as part of the running loop, which goes on while files are fetched, copied or uploaded."""
        entry = model.entry(self._message.mode)
        arguments = entry.signature.arguments(self._message.input, files=self._message.files)
        given = arguments.values
        if arguments.pending:
            given = await _beside(arguments.fetch, self._message.folder)
        self._began = time.perf_counter()
        if not entry.waits:
            result = entry.function(**given)
        else:  # or a training, beside asynchronous predictions
            result = await _beside(contextvars.copy_context().run, functools.partial(entry.function, **given))
        if inspect.isawaitable(result):
            result = await result
        if hasattr(result, "__aiter__"):
            await self._follow(result)
        elif type(result) not in _PLAIN and is_iterator(result):
            for item in result:
                self._item(*await self._taken(item, last=False))
        else:
            self._stop_clock()
            self._final(*await self._taken(result, last=True))

    async def _follow(self, result: Any) -> None:
        async for item in result:
            self._item(*await self._taken(item, last=False))

    async def _taken(self, value: Any, *, last: bool) -> Tuple[Any, List[File]]:
        prepared = self._outputs.prepare(value, last=last)
        return await _beside(self._outputs.take, prepared) if prepared.files else (prepared.plain, [])

    def _item(self, plain: Any, files: List[File]) -> None:
        self._send(Output(self._message.id, plain, files))

    def _final(self, plain: Any, files: List[File]) -> None:
        self._fields = {"status": "succeeded", "value": plain, "files": files}

    def failed(self, problem: BaseException) -> None:
        """The run method raised, or its output cannot be sent."""
        if _is_cancelation(problem):
            self._fields = {**self._fields, "status": "canceled"}
            return
        if isinstance(problem, InputError):
            error = f"Input validation error: {problem}"
        elif isinstance(problem, UploadError):
            error = str(problem)
        elif isinstance(problem, OutputError):
            error = f"Prediction failed: {problem}"
        else:
            show(problem)
            error = f"Prediction failed: {brief(problem)}"
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


async def _beside(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function that waits, in another thread."""
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, function, argument)


def _is_asynchronous(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _is_cancelation(problem: BaseException) -> bool:
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(problem, asyncio.CancelledError):
        return True
    return isinstance(problem, CancelationException)


def is_iterator(value: Any) -> bool:
    """Whether its items are the output; an open file is one value, though it has lines."""
    return isinstance(value, abc.Iterator) and not isinstance(value, io.IOBase) and not hasattr(value, "read")


def settled(value: Any) -> Any:
    """What a function that does not look asynchronous gave after all."""
    if not inspect.isawaitable(value):
        return value
    import asyncio

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())


def brief(problem: BaseException) -> str:
    """An exception in one line."""
    try:
        text = str(problem)
    except BaseException:  # noqa: BLE001  # the model's own class
        text = "<exception str() failed>"
    if isinstance(problem, SetupError):
        return text
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def show(problem: BaseException) -> None:
    """The traceback, without the worker's own frames, on standard error; no frames if there are no others."""
    frames = problem.__traceback__
    ours = ("cog", "cog.worker", "asyncio", "concurrent.futures", "importlib")
    while frames is not None and frames.tb_frame.f_globals.get("__package__") in ours:
        frames = frames.tb_next
    try:
        traceback.print_exception(type(problem), problem, frames, file=sys.stderr)
    except Exception:  # noqa: BLE001  # the model put a stream there that is closed
        text = "".join(traceback.format_exception(type(problem), problem, frames))
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))
