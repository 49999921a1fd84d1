"""What the server and the worker say to each other: typed messages over a socket pair.  Standard library only.

A frame is a length (4 bytes, big endian) and a JSON array: the name of the message, then its fields in their order;
fields at the end that have defaults may be missing.  A frame longer than `SPILL` bytes is left in a file and only its
name is sent, so the socket never holds much; files that a prediction takes or makes travel by path and are never part
of a message.

There are two sockets.  Everything travels over the first, but for `Cancel` and `Check`, which the server sends over
the second: so one thread of the worker waits for predictions and runs them, and another one listens meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import struct
import tempfile
import threading
from typing import Any, Dict, List, Optional, Type

from cog.worker.message import message

PROTOCOL = 2
"""Raised with every incompatible change; the worker tells its own first."""

SPILL = 1 << 20
"""Longest frame, in bytes, that goes through the socket."""

CHECK_LIMIT = 5.0
"""Seconds that a model's `healthcheck` may take."""

CHUNK = 1 << 16
"""Bytes read from a socket or a pipe at a time; a larger buffer would be mapped and unmapped for each read."""

HEADER = struct.Struct(">I")

_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class ProtocolError(Exception):
    """The other side sent something that is not a message."""


@message
class Setup:
    """Server to worker, once: load `ref` and set it up.  `folder` is where files are exchanged.

    `mode` is `predict` or `train`; `train_ref` names what answers trainings in mode `predict`.  With an `upload_url`
    files that a prediction makes are uploaded there, and the URLs that come back are its output.
    """

    ref: str
    mode: str
    folder: str
    concurrency: Optional[int] = None
    upload_url: Optional[str] = None
    train_ref: Optional[str] = None


@message
class Predict:
    """Server to worker.  `folder` is the prediction's own; `files` replace positions of `input` (see `FileAt`).

    `mode` is `train` for a training where predictions are answered, too.
    """

    id: str
    input: Dict[str, Any]
    folder: str
    files: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    context: Dict[str, str] = dataclasses.field(default_factory=dict)
    mode: str = ""


@message
class Cancel:
    """Server to worker: interrupt a prediction.  It may arrive before its `Predict`, and after its `Done` was sent."""

    id: str


@message
class Check:
    """Server to worker, once it is set up: ask the model's `healthcheck`; also while predictions run."""

    id: int


@message
class Stop:
    """Server to worker: end."""


@message
class Hello:
    """Worker to server, first."""

    protocol: int
    python: str
    version: str


@message
class SetupDone:
    """Worker to server, once.  `error` is None if predictions may come; `concurrency` how many at a time.

    `healthcheck`: the model has one.
    """

    error: Optional[str]
    concurrency: int = 1
    healthcheck: bool = False


@message
class Checked:
    """Worker to server: the answer to a `Check`, in `CHECK_LIMIT` seconds; `error` is None if all is well."""

    id: int
    error: Optional[str] = None


@message
class Log:
    """Worker to server: text written to `source` (`stdout` or `stderr`); `id` None: by no prediction in particular.

    `raw`: it is a piece of a stream of bytes that ends anywhere; those that are no text stand as `surrogateescape`.
    """

    id: Optional[str]
    source: str
    text: str
    raw: bool = False


@message
class Output:
    """Worker to server: one item of an iterator."""

    id: str
    value: Any
    files: List[Dict[str, Any]]


@message
class Metric:
    """Worker to server; `value` None deletes."""

    id: str
    name: str
    value: Any
    mode: str


@message
class Done:
    """Worker to server: a prediction ended.  `iterated`: the output was sent item by item; `seconds` it took."""

    id: str
    status: str
    value: Any = None
    files: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    iterated: bool = False
    error: Optional[str] = None
    seconds: Optional[float] = None


@message
class FileAt:
    """A file at a position of a JSON value: `at` is the list of keys and indexes that leads there."""

    at: List[Any]
    path: str
    name: str
    type: str


_KINDS: Dict[str, Type[Any]] = {
    kind.__name__: kind
    for kind in (Setup, Predict, Cancel, Check, Stop, Hello, SetupDone, Checked, Log, Output, Metric, Done)
}


def encode(message: Any, *, folder: str) -> bytes:
    """A message as a frame; `folder` is made again if it has vanished.

    ValueError if the message holds NaN or an infinity, TypeError if it is not JSON.
    """
    body = _json((type(message).__name__, *vars(message).values())).encode()
    if len(body) > SPILL:
        try:
            number, path = tempfile.mkstemp(prefix="frame-", dir=folder)
        except FileNotFoundError:  # a model emptied the temporary folder
            os.makedirs(folder, mode=0o700, exist_ok=True)
            number, path = tempfile.mkstemp(prefix="frame-", dir=folder)
        with open(number, "wb") as file:
            file.write(body)
        body = _json(("Spilled", path)).encode()
    return HEADER.pack(len(body)) + body


def whole_characters(data: bytes) -> int:
    """How many bytes of UTF-8 text there are before a character that was cut off at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if length > back else len(data)
    return len(data)


def take_frame(received: bytearray) -> Optional[bytes]:
    """Take the body of the first frame out of `received`; None if it is not complete."""
    if len(received) < HEADER.size:
        return None
    end = HEADER.size + int.from_bytes(received[: HEADER.size], "big")
    if len(received) < end:
        return None
    body = bytes(received[HEADER.size : end])
    del received[:end]
    return body


def decode(body: bytes) -> Any:
    """The message in the body of a frame.  ProtocolError if there is none."""
    try:
        kind, *fields = json.loads(body.decode())
        if kind == "Spilled":
            (path,) = fields
            with open(path, "rb") as file:
                body = file.read()
            os.unlink(path)
            kind, *fields = json.loads(body)
        return _KINDS[kind](*fields)
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as problem:
        raise ProtocolError(f"not a message: {body[:200]!r}") from problem


class Channel:
    """The worker's end of a socket: blocking, so that a slow server slows the model down.

    `send` may be called by any thread, the rest by one.
    """

    def __init__(self, connection: socket.socket, *, folder: str = "") -> None:
        self.folder = folder
        self._connection = connection
        self._received = bytearray()
        self._lock = threading.RLock()

    def fileno(self) -> int:
        """The descriptor, to wait for something to be `receive`d."""
        return self._connection.fileno()

    def send(self, message: Any) -> None:
        """Send one message; BrokenPipeError if the server is gone."""
        frame = encode(message, folder=self.folder)
        with self._lock:
            self._connection.sendall(frame)

    def receive(self) -> Any:
        """Wait for the next message; None when the server is gone."""
        while True:
            message = self._next()
            if message is not None or not self._read(0):
                return message

    def receive_ready(self) -> List[Any]:
        """The messages that are there already; None is the last of them when the server is gone."""
        found: List[Any] = []
        try:
            alive = self._read(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        found += iter(self._next, None)
        return found if alive else [*found, None]

    def _read(self, flags: int) -> bool:
        data = self._connection.recv(CHUNK, flags)
        self._received += data
        return bool(data)

    def _next(self) -> Any:
        body = take_frame(self._received)
        return None if body is None else decode(body)

    def abandon(self) -> None:
        """Close this process's copy of the socket, as a forked child must."""
        with contextlib.suppress(OSError):
            os.close(self._connection.detach())
