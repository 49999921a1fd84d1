"""Runs the predictions of an asynchronous model as tasks of one event loop.  Standard library and the SDK only."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any, Dict

from cog.worker.protocol import Cancel, Done, Predict, Stop
from cog.worker.run import Model, Run

if TYPE_CHECKING:
    from cog.worker.main import Worker


def serve(worker: Worker, model: Model) -> None:
    """Set the model up and live until the server says stop."""
    asyncio.run(_Tasks(worker, model).serve())


class _Tasks:
    def __init__(self, worker: Worker, model: Model) -> None:
        self._worker = worker
        self._model = model
        self._running: Dict[str, "asyncio.Task[None]"] = {}

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        arrived: "asyncio.Queue[Any]" = asyncio.Queue()
        self._worker.deliver = lambda message: loop.call_soon_threadsafe(arrived.put_nowait, message)
        try:
            pending = self._model.setup()
            if inspect.isawaitable(pending):
                await pending
        except BaseException as problem:  # noqa: BLE001  # sys.exit included
            self._worker.report_setup(problem)
            return
        self._worker.report_setup(None, concurrency=self._model.concurrency)
        while True:
            message = await arrived.get()
            if isinstance(message, Stop):
                return
            if isinstance(message, Cancel):
                if message.id in self._running:
                    self._running[message.id].cancel()
                continue
            task = loop.create_task(self._predict(message))
            self._running[message.id] = task
            task.add_done_callback(functools.partial(self._forget, message.id))
            self._attribute()

    async def _predict(self, message: Predict) -> None:
        run = Run(message, send=self._worker.send)
        with run.context():
            try:
                arguments = await asyncio.get_running_loop().run_in_executor(None, run.arguments, self._model)
                result = self._model.function(**arguments)
                if hasattr(result, "__aiter__"):
                    async for item in result:
                        run.item(item)
                else:
                    run.final(await result)
            except BaseException as problem:  # noqa: BLE001
                run.failed(problem)
            self._worker.finish(run)

    def _forget(self, prediction: str, task: "asyncio.Task[None]") -> None:
        del self._running[prediction]
        self._attribute()
        if task.cancelled():  # before it had begun
            self._worker.send(Done(prediction, "canceled", iterated=True))

    def _attribute(self) -> None:
        # Text of unknown origin is the only prediction's, if there is only one.
        self._worker.capture.sole = next(iter(self._running)) if len(self._running) == 1 else None
