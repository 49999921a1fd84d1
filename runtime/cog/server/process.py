"""One worker process and the lines to it.  Standard library only; knows nothing of HTTP or of predictions.

Two pipes carry what the process writes to its descriptors 1 and 2.  The worker empties them itself before each of its
messages (see `cog.worker.capture`); here they are read with a small delay and only after the messages that came
before, so that text keeps its order, and a process that hangs or dies loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional

from cog.server.family import MARK, end_family
from cog.server.family import how_it_ended as how_it_ended
from cog.worker.protocol import (
    CHUNK,
    Cancel,
    Check,
    Log,
    ProtocolError,
    decode,
    encode,
    take_frame,
    whole_characters,
)
from cog.worker.unfinished import Unfinished, make_shared

PIPE_DELAY = 0.02
"""Seconds between a pipe becoming readable and its being read, unless it is filling up."""

DEAF_GRACE = 1.0
"""Seconds that a worker which closed its socket has to end."""

# The project's folder must not shadow what the worker imports: it comes on `sys.path` when the worker is loaded.
_BOOTSTRAP = """\
import sys
if sys.path and sys.path[0] == "": del sys.path[0]
sys.path.insert(0, sys.argv[1])
import cog
del sys.path[0], sys.argv[1]
from cog.worker.main import main
main()
"""


class WorkerProcess:
    """A running worker.  Made before the event loop, so that the model loads while the server still does.

    OSError if it cannot be started; nothing is left open then.
    """

    def __init__(self, *, python: str, sdk: str, folder: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._mark = secrets.token_hex(16)
        self._pipes: Dict[str, int] = {}
        self._tails = {"stdout": b"", "stderr": b""}
        writing: List[int] = []
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as others:
            theirs = []
            self._sockets = []
            for _ in range(2):
                one, other = socket.socketpair()
                ours.callback(one.close)
                others.callback(other.close)
                one.setblocking(False)
                self._sockets.append(one)
                theirs.append(other.fileno())
            for source in ("stdout", "stderr"):
                reader, writer = os.pipe()
                ours.callback(os.close, reader)
                others.callback(os.close, writer)
                os.set_blocking(reader, False)
                self._pipes[source] = reader
                writing.append(writer)
            shared = make_shared()
            others.callback(os.close, shared)
            self._unfinished = Unfinished(shared)
            ours.callback(self._unfinished.close)
            passed = [*theirs, *self._pipes.values(), shared]
            self._process = subprocess.Popen(
                [python, "-c", _BOOTSTRAP, sdk, *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=writing[0],
                stderr=writing[1],
                pass_fds=passed,
                env={**environment, MARK: self._mark},
                start_new_session=True,
            )
            ours.pop_all()  # started: they stay open
        self._socket = self._sockets[0]
        self._received = bytearray()
        self._deaf = False
        self._dead = False
        self._sending = {one: bytearray() for one in self._sockets}
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """It takes no more messages; `on_exit` may be called only later, when all that it started has ended, too."""
        return self._dead or self._deaf

    def attach(
        self,
        *,
        on_message: Callable[[Any], None],
        on_text: Callable[[str, str], None],
        on_exit: Callable[[int], None],
    ) -> None:
        """Start to listen, in the running loop.  `on_exit` is called last, with the code of `subprocess`.

        RuntimeError if there is no thread to be had; the worker is gone then and `on_exit` not called.
        """
        self._on_message, self._on_text, self._on_exit = on_message, on_text, on_exit
        self._loop = asyncio.get_running_loop()
        try:
            threading.Thread(target=self._wait, name="worker-wait", daemon=True).start()
        except RuntimeError:
            end_family(self.pid, mark=self._mark)
            self._process.wait()
            self._close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._read_socket)
        for source in self._pipes:
            self._watch(source)

    def send(self, message: Any) -> None:
        """Queue a message; a worker that is gone takes none and says so through `on_exit`."""
        one = self._sockets[1 if isinstance(message, (Cancel, Check)) else 0]
        frame = encode(message, folder=self._folder)
        if self._sending[one]:
            self._sending[one] += frame
            return
        sent = self._try_to_send(one, frame)
        if sent < len(frame):
            self._sending[one] += frame[sent:]
            assert self._loop is not None
            self._loop.add_writer(one.fileno(), self._go_on_sending, one)

    def kill(self) -> None:
        """End the process; once it has, all the processes that it started are ended, too."""
        if self._process.returncode is not None:  # reaped: the number may be another's
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)

    def _wait(self) -> None:
        loop = self._loop
        assert loop is not None
        # Not yet reaped, its number cannot belong to anyone else.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._dead = True
        end_family(self.pid, mark=self._mark)
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended first
            loop.call_soon_threadsafe(self._exited, code)

    def _exited(self, code: int) -> None:
        self._read_socket()
        self._hear_no_more()
        loop = self._loop
        assert loop is not None
        for one in self._sockets:
            loop.remove_reader(one.fileno())
            loop.remove_writer(one.fileno())
        for source in list(self._pipes):
            loop.remove_reader(self._pipes[source])
            while self._take(source) == CHUNK:
                pass
            self._tell(source, b"", last=True)
        self._close()
        self._remove_frames()
        self._on_exit(code)

    def _remove_frames(self) -> None:
        """Large messages (see `cog.worker.protocol`) that the worker did not live to read or to send."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                if name.startswith("frame-"):
                    os.unlink(f"{self._folder}/{name}")

    def _close(self) -> None:
        for one in self._sockets:
            one.close()
        for number in self._pipes.values():
            os.close(number)
        self._pipes.clear()
        self._unfinished.close()

    def _watch(self, source: str) -> None:
        assert self._loop is not None
        self._loop.add_reader(self._pipes[source], self._pipe_readable, source)

    def _pipe_readable(self, source: str) -> None:
        assert self._loop is not None
        self._loop.remove_reader(self._pipes[source])
        self._loop.call_later(PIPE_DELAY, self._read_pipe, source)

    def _read_pipe(self, source: str) -> None:
        if source not in self._pipes:
            return
        self._read_socket()
        taken = self._take(source)
        assert self._loop is not None
        if taken == CHUNK:
            self._loop.call_soon(self._read_pipe, source)
        elif taken is not None:
            self._watch(source)

    def _take(self, source: str) -> Optional[int]:
        """Read once; the number of bytes, None at the end of the pipe."""
        try:
            data = os.read(self._pipes[source], CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            return None
        self._tell(source, data)
        return len(data)

    def _tell(self, source: str, data: bytes, *, last: bool = False) -> None:
        text = self._characters(source, data, last=last)
        if text:
            self._on_text(source, text)

    def _characters(self, source: str, data: bytes, *, last: bool = False) -> str:
        """Bytes of a pipe as text; those of a character that is cut off wait for the rest of it."""
        data = self._tails[source] + data
        whole = len(data) if last else whole_characters(data)
        self._tails[source] = data[whole:]
        return data[:whole].decode("utf-8", "replace")

    def _read_socket(self) -> None:
        ended = False
        while not ended:
            try:
                data = self._socket.recv(CHUNK)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            ended = not data
            self._received += data
            if len(data) < CHUNK:
                break
        self._dispatch()
        if ended:
            self._hear_no_more()

    def _hear_no_more(self) -> None:
        """The worker's end of the socket is closed: it has died, or closed what is not the model's to close."""
        if self._deaf:
            return
        self._deaf = True
        assert self._loop is not None
        self._loop.remove_reader(self._socket.fileno())
        self._loop.call_later(DEAF_GRACE, self.kill)
        for source, line in self._unfinished.left():  # before what a crash writes about itself
            self._tell(source, line, last=True)

    def _dispatch(self) -> None:
        while True:
            body = take_frame(self._received)
            if body is None:
                return
            try:
                message = decode(body)
            except ProtocolError:
                # Only a model that writes to descriptors it does not own can do this.
                self._received.clear()
                self.kill()
                return
            if type(message) is Log and message.raw:
                text = self._characters(message.source, message.text.encode("utf-8", "surrogateescape"))
                message = Log(message.id, message.source, text)
            try:
                self._on_message(message)
            except Exception as problem:  # noqa: BLE001  # the messages behind it count, too
                assert self._loop is not None
                told = {"message": f"A message of the worker was dropped: {body[:200]!r}", "exception": problem}
                self._loop.call_exception_handler(told)

    def _try_to_send(self, one: socket.socket, data: Any) -> int:
        """How many bytes could be sent; all of them if nobody will take them any more."""
        try:
            return one.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return len(data)

    def _go_on_sending(self, one: socket.socket) -> None:
        data = self._sending[one]
        del data[: self._try_to_send(one, data)]
        if not data:
            assert self._loop is not None
            self._loop.remove_writer(one.fileno())
