"""Loads the model, sets it up and runs its predictions, as the server asks.  Standard library and the SDK only.

A thread reads the server's messages; predictions run in the main thread, one after the other or, if the run method is
asynchronous, as tasks of one event loop (`tasks.py`).  `sys.exit` in a model fails a prediction, not the worker.
"""

from __future__ import annotations

import contextlib
import faulthandler
import inspect
import os
import platform
import queue
import socket
import sys
import threading
from collections import abc
from typing import Any, Callable, Dict, Optional

import cog
from cog.worker.capture import Capture
from cog.worker.interrupt import Interrupter
from cog.worker.protocol import PROTOCOL, Cancel, Channel, Hello, Predict, Setup, SetupDone, Stop
from cog.worker.run import Model, Run, SetupError, brief, show


class Worker:
    """The state of this process: the channel to the server, the captured streams, what to do with messages."""

    def __init__(self, channel: Channel, *, pipes: Dict[str, int]) -> None:
        self._channel = channel
        self._interrupter = Interrupter()
        self.capture = Capture(self.send, pipes=pipes)
        self.capture.install()
        os.register_at_fork(after_in_child=channel.abandon)
        self._inbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self.deliver: Callable[[Any], Any] = self._inbox.put
        """Takes each message of the server, in the reading thread."""

    def serve(self) -> None:
        """Live until the server says stop or is gone."""
        self.send(Hello(PROTOCOL, platform.python_version(), cog.__version__))
        setup = self._channel.receive()
        if not isinstance(setup, Setup):
            return
        self._channel.folder = setup.folder
        threading.Thread(target=self._read, name="cog-reader", daemon=True).start()
        try:
            model = Model(setup)
        except BaseException as problem:  # noqa: BLE001  # sys.exit included
            self.report_setup(problem)
            return
        if model.asynchronous:
            from cog.worker.tasks import serve

            serve(self, model)
        else:
            self._serve(model)

    def send(self, message: Any) -> None:
        """Send a message, whole even if a cancel arrives."""
        with self._interrupter.shield():
            self._channel.send(message)

    def report_setup(self, problem: Optional[BaseException], *, concurrency: int = 1) -> None:
        """Tell the server how setup ended."""
        if problem is not None and not isinstance(problem, SetupError):
            show(problem)
        self.capture.settle()
        self.send(SetupDone(None if problem is None else brief(problem), concurrency))

    def finish(self, run: Run) -> None:
        """Tell the server how a prediction ended, after all that it wrote."""
        self.capture.settle()
        self.send(run.done())

    def _read(self) -> None:
        # Without this thread the process would hear nothing any more and live on: the server starts a new one.
        try:
            while True:
                message = None
                with contextlib.suppress(OSError):
                    message = self._channel.receive()
                if message is None:
                    os._exit(0)
                self.deliver(message)
        except BaseException as problem:  # noqa: BLE001
            with contextlib.suppress(OSError):
                os.write(2, f"The server's message cannot be taken: {brief(problem)}\n".encode("utf-8", "replace"))
            os._exit(1)

    def _serve(self, model: Model) -> None:
        self.deliver = self._take
        try:
            _settled(model.setup())
        except BaseException as problem:  # noqa: BLE001
            self.report_setup(problem)
            return
        self.report_setup(None)
        while True:
            message = self._inbox.get()
            if isinstance(message, Stop):
                return
            self._predict(model, message)

    def _take(self, message: Any) -> None:
        if isinstance(message, Cancel):
            self._interrupter.cancel(message.id)
        else:
            self._inbox.put(message)

    def _predict(self, model: Model, message: Predict) -> None:
        run = Run(message, send=self.send)
        self.capture.sole = message.id
        with run.context():
            try:
                with self._interrupter.running(message.id):
                    result = _settled(model.function(**run.arguments(model)))
                    if isinstance(result, abc.Iterator):
                        for item in result:
                            run.item(item)
                    else:
                        run.final(result)
            except BaseException as problem:  # noqa: BLE001  # SystemExit, KeyboardInterrupt and cancelation too
                run.failed(problem)
            self.finish(run)
        self.capture.sole = None


def _settled(value: Any) -> Any:
    """What a function that does not look asynchronous gave after all."""
    if not inspect.isawaitable(value):
        return value
    import asyncio

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())


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
