"""One worker process and the lines to it.  Standard library only; knows nothing of HTTP or of predictions.

Two pipes carry what the process writes to its descriptors 1 and 2.  The worker empties them itself before each of its
messages (see `cog.worker.capture`); here they are read with a small delay and only after the messages that came
before, so that text keeps its order, and a process that hangs or dies loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from cog.worker.protocol import HEADER, ProtocolError, decode, encode

PIPE_DELAY = 0.02
"""Seconds between a pipe becoming readable and its being read, unless it is filling up."""

CHUNK = 65536

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
        self._pipes: Dict[str, int] = {}
        writing: List[int] = []
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as others:
            self._socket, theirs = socket.socketpair()
            ours.callback(self._socket.close)
            others.callback(theirs.close)
            self._socket.setblocking(False)
            for source in ("stdout", "stderr"):
                reader, writer = os.pipe()
                ours.callback(os.close, reader)
                others.callback(os.close, writer)
                os.set_blocking(reader, False)
                self._pipes[source] = reader
                writing.append(writer)
            passed = [theirs.fileno(), *self._pipes.values()]
            self._process = subprocess.Popen(
                [python, "-c", _BOOTSTRAP, sdk, *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=writing[0],
                stderr=writing[1],
                pass_fds=passed,
                env=dict(environment),
                start_new_session=True,
            )
            ours.pop_all()  # started: they stay open
        self._received = bytearray()
        self._sending = bytearray()
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

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
            self.kill()
            self._process.wait()
            self._socket.close()
            for number in self._pipes.values():
                os.close(number)
            self._pipes.clear()
            raise
        self._loop.add_reader(self._socket.fileno(), self._read_socket)
        for source in self._pipes:
            self._watch(source)

    def send(self, message: Any) -> None:
        """Queue a message; a worker that is gone takes none and says so through `on_exit`."""
        self._sending += encode(message, folder=self._folder)
        self._write_socket()

    def kill(self) -> None:
        """End the process and every process of its session; one that made a session of its own is left alone."""
        if self._process.returncode is not None:  # reaped: the number may be another's
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        ended: Set[int] = set()
        while True:  # until none is left that was forked meanwhile
            found = _session(self._process.pid) - ended
            if not found:
                return
            for number in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(number, signal.SIGKILL)
            ended |= found

    def _wait(self) -> None:
        loop = self._loop
        assert loop is not None
        # Not yet reaped, the number of its process group cannot belong to anyone else.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self.kill()
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended first
            loop.call_soon_threadsafe(self._exited, code)

    def _exited(self, code: int) -> None:
        self._read_socket()
        loop = self._loop
        assert loop is not None
        loop.remove_reader(self._socket.fileno())
        loop.remove_writer(self._socket.fileno())
        for source in list(self._pipes):
            loop.remove_reader(self._pipes[source])
            while self._take(source) == CHUNK:
                pass
            os.close(self._pipes.pop(source))
        self._socket.close()
        self._on_exit(code)

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
        self._on_text(source, data.decode("utf-8", "replace"))
        return len(data)

    def _read_socket(self) -> None:
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                assert self._loop is not None
                if self._socket.fileno() >= 0:
                    self._loop.remove_reader(self._socket.fileno())
                break
            self._received += data
            if len(data) < 1 << 18:
                break
        self._dispatch()

    def _dispatch(self) -> None:
        while len(self._received) >= HEADER.size:
            (length,) = HEADER.unpack_from(self._received)
            end = HEADER.size + length
            if len(self._received) < end:
                return
            body = bytes(self._received[HEADER.size : end])
            del self._received[:end]
            try:
                message = decode(body)
            except ProtocolError:
                # Only a model that writes to descriptors it does not own can do this.
                self._received.clear()
                self.kill()
                return
            try:
                self._on_message(message)
            except Exception as problem:  # noqa: BLE001  # the messages behind it count, too
                assert self._loop is not None
                told = {"message": f"A message of the worker was dropped: {body[:200]!r}", "exception": problem}
                self._loop.call_exception_handler(told)

    def _write_socket(self) -> None:
        assert self._loop is not None
        while self._sending:
            try:
                sent = self._socket.send(self._sending)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket.fileno(), self._write_socket)
                return
            except OSError:
                self._sending.clear()
                break
            del self._sending[:sent]
        if self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket.fileno())


def _session(leader: int) -> Set[int]:
    """The processes of the session that `leader` leads."""
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # after the name: state, parent, group, session
            if int(fields[3]) == leader:
                found.add(int(name))
    return found


def how_it_ended(code: int) -> str:
    """An exit code of `subprocess` in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"killed by signal {-code} ({name}{', perhaps out of memory' if -code == signal.SIGKILL else ''})"
