"""What the server and the worker say to each other: typed messages over a socket pair.  Standard library only.

A frame is a length (4 bytes, big endian) and a JSON object whose `kind` names the message.  A frame longer than
`SPILL` bytes is left in a file and only its name is sent, so the socket never holds much; files that a prediction
takes or makes travel by path and are never part of a message.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import struct
import tempfile
import threading
from typing import Any, Dict, List, Optional, Type

PROTOCOL = 1
"""Raised with every incompatible change; the worker tells its own first."""

SPILL = 1 << 20
"""Longest frame, in bytes, that goes through the socket."""

HEADER = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side sent something that is not a message."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """Server to worker, once: load `ref` and set it up.  `folder` is where files are exchanged."""

    ref: str
    mode: str
    folder: str
    concurrency: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Predict:
    """Server to worker.  `folder` is the prediction's own; `files` replace positions of `input` (see `FileAt`)."""

    id: str
    input: Dict[str, Any]
    folder: str
    files: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    context: Dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Cancel:
    """Server to worker: interrupt a prediction."""

    id: str


@dataclasses.dataclass(frozen=True)
class Stop:
    """Server to worker: end."""


@dataclasses.dataclass(frozen=True)
class Hello:
    """Worker to server, first."""

    protocol: int
    python: str
    version: str


@dataclasses.dataclass(frozen=True)
class SetupDone:
    """Worker to server, once.  `error` is None if predictions may come; `concurrency` how many at a time."""

    error: Optional[str]
    concurrency: int = 1


@dataclasses.dataclass(frozen=True)
class Log:
    """Worker to server: text written to `source` (`stdout` or `stderr`); `id` None: by no prediction in particular."""

    id: Optional[str]
    source: str
    text: str


@dataclasses.dataclass(frozen=True)
class Output:
    """Worker to server: one item of an iterator."""

    id: str
    value: Any
    files: List[Dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Metric:
    """Worker to server; `value` None deletes."""

    id: str
    name: str
    value: Any
    mode: str


@dataclasses.dataclass(frozen=True)
class Done:
    """Worker to server: a prediction ended.  `iterated`: the output was sent item by item; `seconds` it took."""

    id: str
    status: str
    value: Any = None
    files: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    iterated: bool = False
    error: Optional[str] = None
    seconds: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class FileAt:
    """A file at a position of a JSON value: `at` is the list of keys and indexes that leads there."""

    at: List[Any]
    path: str
    name: str
    type: str


_KINDS: Dict[str, Type[Any]] = {
    kind.__name__: kind for kind in (Setup, Predict, Cancel, Stop, Hello, SetupDone, Log, Output, Metric, Done)
}


def encode(message: Any, *, folder: str) -> bytes:
    """A message as a frame; `folder` is made again if it has vanished.

    ValueError if the message holds NaN or an infinity, TypeError if it is not JSON.
    """
    body = json.dumps({"kind": type(message).__name__, **vars(message)}, allow_nan=False).encode()
    if len(body) > SPILL:
        try:
            number, path = tempfile.mkstemp(prefix="frame-", dir=folder)
        except FileNotFoundError:  # a model emptied the temporary folder
            os.makedirs(folder, mode=0o700, exist_ok=True)
            number, path = tempfile.mkstemp(prefix="frame-", dir=folder)
        with open(number, "wb") as file:
            file.write(body)
        body = json.dumps({"kind": "Spilled", "path": path}).encode()
    return HEADER.pack(len(body)) + body


def decode(body: bytes) -> Any:
    """The message in the body of a frame.  ProtocolError if there is none."""
    try:
        fields = json.loads(body)
        kind = fields.pop("kind")
        if kind == "Spilled":
            with open(fields["path"], "rb") as file:
                body = file.read()
            os.unlink(fields["path"])
            fields = json.loads(body)
            kind = fields.pop("kind")
        return _KINDS[kind](**fields)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as problem:
        raise ProtocolError(f"not a message: {body[:200]!r}") from problem


class Channel:
    """The worker's end: blocking, so that a slow server slows the model down.  `send` may be called by any thread."""

    def __init__(self, connection: socket.socket, *, folder: str = "") -> None:
        self.folder = folder
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._lock = threading.RLock()

    def send(self, message: Any) -> None:
        """Send one message; BrokenPipeError if the server is gone."""
        frame = encode(message, folder=self.folder)
        with self._lock:
            self._connection.sendall(frame)

    def receive(self) -> Any:
        """The next message; None when the server is gone."""
        header = self._stream.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        (length,) = HEADER.unpack(header)
        body = self._stream.read(length)
        return decode(body) if len(body) == length else None

    def abandon(self) -> None:
        """Close this process's copy of the socket, as a forked child must."""
        os.close(self._connection.detach())
