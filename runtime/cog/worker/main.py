"""Loads the model, sets it up and runs its predictions, as the server asks.  Standard library and the SDK only.

The main thread waits for predictions and runs them, one after the other or, if the run method is asynchronous, as tasks
of one event loop (`tasks.py`).  Another one listens for what cannot wait: cancels, health checks, the server's end.
`sys.exit` in a model fails a prediction, not the worker.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import platform
import socket
import sys
import threading
from typing import Any, Callable, Dict, NoReturn, Optional

import cog
from cog.worker.capture import Capture
from cog.worker.children import Children
from cog.worker.health import Healthcheck
from cog.worker.interrupt import Interrupter
from cog.worker.protocol import PROTOCOL, Cancel, Channel, Check, Done, Hello, Predict, ProtocolError, Setup, SetupDone
from cog.worker.run import Model, Run, SetupError, brief, settled, show
from cog.worker.unfinished import Unfinished


class Worker:
    """The state of this process: the channels to the server, the captured streams, what to do with messages."""

    def __init__(self, channel: Channel, *, control: Channel, pipes: Dict[str, int], unfinished: Unfinished) -> None:
        self.channel = channel
        self._control = control
        self.interrupter = Interrupter()
        self.capture = Capture(self.send, pipes=pipes, unfinished=unfinished)
        self.capture.install()
        os.register_at_fork(after_in_child=self._forked)
        self.cancel: Callable[[str], Any] = self.interrupter.cancel
        """Interrupts a prediction; called by the listening thread."""
        self._health: Optional[Healthcheck] = None

    def serve(self) -> None:
        """Live until the server says stop or is gone."""
        self.send(Hello(PROTOCOL, platform.python_version(), cog.__version__))
        setup = self.receive()
        if not isinstance(setup, Setup):
            return
        self.channel.folder = setup.folder
        threading.Thread(target=self._listen, name="cog-control", daemon=True).start()
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
        with self.interrupter.shield:
            self.channel.send(message)

    def receive(self) -> Any:
        """Wait for a message; None when the server is gone.  One that cannot be read ends the process."""
        try:
            return self.channel.receive()
        except ProtocolError as problem:
            self.end(problem)

    def watch(self, model: Model, *, loop: Any = None) -> None:
        """Answer the server's checks from now on, if the model has a healthcheck."""
        function = model.healthcheck
        if function is not None:
            self._health = Healthcheck(function, send=self.send, loop=loop)

    def report_setup(self, problem: Optional[BaseException], *, concurrency: int = 1) -> None:
        """Tell the server how setup ended."""
        if problem is not None and not isinstance(problem, SetupError):
            show(problem)
        self.capture.settle()
        self.send(SetupDone(None if problem is None else brief(problem), concurrency, self._health is not None))

    def finish(self, run: Run) -> None:
        """Tell the server how a prediction ended, after all that it wrote."""
        done = run.done()
        self.capture.settle()
        try:
            self.send(done)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as problem:  # noqa: BLE001  # an integer too long for text, no room or no descriptor
            error = f"Prediction failed: the output cannot be sent: {brief(problem)[:1000]}"
            self.send(Done(done.id, "failed", iterated=True, error=error, seconds=done.seconds))

    def left_too_many(self, children: Children) -> bool:
        """Whether the predictions left so many processes behind that this one should end, and they with it."""
        if not children.too_many():
            return False
        with contextlib.suppress(OSError):
            os.write(2, b"The model leaves too many processes behind: its worker is started anew\n")
        return True

    def _listen(self) -> None:
        # Without this thread the process would hear nothing any more and live on: the server starts a new one.
        try:
            while True:
                message = None
                with contextlib.suppress(OSError):
                    message = self._control.receive()
                if isinstance(message, Cancel):
                    self.cancel(message.id)
                elif isinstance(message, Check) and self._health is not None:
                    self._health.ask(message)
                elif message is None:
                    os._exit(0)
        except BaseException as problem:  # noqa: BLE001
            self.end(problem)

    def end(self, problem: BaseException) -> NoReturn:
        """End the process: what the server sent cannot be read."""
        with contextlib.suppress(OSError):
            os.write(2, f"The server's message cannot be taken: {brief(problem)}\n".encode("utf-8", "replace"))
        os._exit(1)

    def _forked(self) -> None:
        self.channel.abandon()
        self._control.abandon()

    def _serve(self, model: Model) -> None:
        try:
            settled(model.setup())
            self.watch(model)
        except BaseException as problem:  # noqa: BLE001
            self.report_setup(problem)
            return
        children = Children()
        self.report_setup(None)
        while not self.left_too_many(children):
            message = self.receive()
            if not isinstance(message, Predict):  # Stop, or the server is gone
                return
            self._predict(model, message)

    def _predict(self, model: Model, message: Predict) -> None:
        run = Run(message, send=self.send, upload_url=model.upload_url)
        self.capture.sole = message.id
        with run:
            try:
                with self.interrupter.running(message.id):
                    run.perform(model)
            except BaseException as problem:  # noqa: BLE001  # SystemExit, KeyboardInterrupt and cancelation too
                run.failed(problem)
            self.finish(run)
        self.capture.sole = None


def _give_way() -> None:
    """Let the kernel, out of memory, choose this process or its children rather than the server."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        score = int(file.read())
        file.seek(0)
        file.write(str(min(score + 100, 1000)))


def main() -> None:
    """`CHANNEL CONTROL STDOUT STDERR UNFINISHED`: two sockets, the reading ends of our own output, shared memory."""
    numbers = [int(word) for word in sys.argv[1:6]]
    for number in numbers:
        os.set_inheritable(number, False)
    channel, control = (Channel(socket.socket(fileno=number)) for number in numbers[:2])
    del sys.argv[1:]
    unfinished = Unfinished(numbers[4])
    os.close(numbers[4])
    _give_way()
    faulthandler.enable(file=2)
    sys.path.insert(0, os.getcwd())
    try:
        pipes = {"stdout": numbers[2], "stderr": numbers[3]}
        Worker(channel, control=control, pipes=pipes, unfinished=unfinished).serve()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        # Threads that the model left behind must not keep the process.
        os._exit(0)


if __name__ == "__main__":
    main()
