"""A loaded model, and one prediction of it from the arguments to the message that ends it.

Standard library and the SDK only.  asyncio is imported by those who need it: it is slow to start.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import time
import traceback
from typing import Any, Callable, Dict, Iterator, Optional

from cog.exceptions import CancelationException
from cog.predictor import load_predictor_from_ref, run_method, train_method
from cog.scope import CURRENT, Scope
from cog.worker.capture import PREDICTION
from cog.worker.inputs import InputError, Signature
from cog.worker.outputs import OutputError, Outputs, file_clock
from cog.worker.protocol import Done, Metric, Output, Predict, Setup


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
    def context(self) -> Iterator[None]:
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
        if _is_cancelation(problem):
            self._fields = {**self._fields, "status": "canceled"}
            return
        if isinstance(problem, InputError):
            error = f"Input validation error: {problem}"
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


def _is_cancelation(problem: BaseException) -> bool:
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(problem, asyncio.CancelledError):
        return True
    return isinstance(problem, CancelationException)


def brief(problem: BaseException) -> str:
    """An exception in one line."""
    text = str(problem)
    if isinstance(problem, SetupError):
        return text
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def show(problem: BaseException) -> None:
    """The traceback, without the worker's own frames, on standard error."""
    frames = problem.__traceback__
    ours = ("cog", "cog.worker", "asyncio", "concurrent.futures", "importlib")
    while frames is not None and frames.tb_frame.f_globals.get("__package__") in ours:
        frames = frames.tb_next
    traceback.print_exception(type(problem), problem, frames or problem.__traceback__, file=sys.stderr)
