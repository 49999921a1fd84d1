"""Runs the predictions of an asynchronous model as tasks of one event loop.  Standard library and the SDK only."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, Deque, Dict

from cog.worker.children import Children
from cog.worker.protocol import Done, Predict, ProtocolError
from cog.worker.run import Model, Run

if TYPE_CHECKING:
    from cog.worker.main import Worker


def serve(worker: Worker, model: Model) -> None:
    """Set the model up and live until the server says stop."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        pending = model.setup()  # before the loop runs: a plain one may have to run one of its own
    except BaseException as problem:  # noqa: BLE001  # sys.exit included
        worker.report_setup(problem)
        return
    asyncio.set_event_loop(loop)  # again: `asyncio.run` leaves none
    serving = loop.create_task(_Tasks(worker, model).serve(pending))
    while not serving.done():
        # A task of the model's own that calls sys.exit stops the loop, too; whoever waits for it learns of it.
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_until_complete(serving)


class _Tasks:
    def __init__(self, worker: Worker, model: Model) -> None:
        self._worker = worker
        self._model = model
        self._running: Dict[str, "asyncio.Task[None]"] = {}
        # Cancels that came before their prediction, or after its end: ids are never used again.
        self._unknown: Deque[str] = collections.deque(maxlen=1000)

    async def serve(self, pending: Any) -> None:
        """Wait for what `setup` gave, if that is asynchronous, and for the end."""
        loop = asyncio.get_running_loop()
        self._stopped: "asyncio.Future[None]" = loop.create_future()
        self._worker.cancel = lambda prediction: loop.call_soon_threadsafe(self._cancel, prediction)
        try:
            if inspect.isawaitable(pending):
                await pending
            self._worker.watch(self._model, loop=loop)
        except BaseException as problem:  # noqa: BLE001  # sys.exit included
            self._worker.report_setup(problem)
            return
        self._children = Children()
        self._worker.report_setup(None, concurrency=self._model.concurrency)
        loop.add_reader(self._worker.channel.fileno(), self._arrived)
        await self._stopped

    def _arrived(self) -> None:
        try:
            messages = self._worker.channel.receive_ready()
        except (OSError, ProtocolError) as problem:
            self._worker.end(problem)
        for message in messages:
            if isinstance(message, Predict):
                self._begin(message)
            else:  # Stop, or the server is gone
                self._stop()

    def _stop(self) -> None:
        if not self._stopped.done():
            asyncio.get_running_loop().remove_reader(self._worker.channel.fileno())
            self._stopped.set_result(None)

    def _begin(self, message: Predict) -> None:
        task = asyncio.get_running_loop().create_task(self._predict(message))
        self._running[message.id] = task
        task.add_done_callback(functools.partial(self._forget, message.id))
        self._attribute()
        if message.id in self._unknown:
            task.cancel()

    def _cancel(self, prediction: str) -> None:
        task = self._running.get(prediction)
        if task is None:
            self._unknown.append(prediction)
        else:
            task.cancel()

    async def _predict(self, message: Predict) -> None:
        run = Run(message, send=self._worker.send, upload_url=self._model.upload_url)
        with run:
            try:
                await run.perform_async(self._model)
            except BaseException as problem:  # noqa: BLE001
                run.failed(problem)
            self._worker.finish(run)

    def _forget(self, prediction: str, task: "asyncio.Task[None]") -> None:
        del self._running[prediction]
        self._attribute()
        if task.cancelled():  # before it had begun
            self._worker.send(Done(prediction, "canceled", iterated=True))
        if not self._running and self._worker.left_too_many(self._children):
            self._stop()

    def _attribute(self) -> None:
        # Text of unknown origin is the only prediction's, if there is only one.
        self._worker.capture.sole = next(iter(self._running)) if len(self._running) == 1 else None
