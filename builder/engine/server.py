"""The prediction server of an image, in a container on the host's network, bound to the loopback address."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.engine import client, container
from builder.engine.container import Options
from builder.engine.engines import Engine, Running
from builder.engine.unpack import Fetch
from builder.errors import PredictionError, SandboxError
from builder.report import Report
from builder.sandbox.start import DEVNULL
from builder.store import Store, StoredImage

LOOPBACK = "127.0.0.1"
ATTEMPTS = 5
SETUP_TIMEOUT = 300.0
"""Seconds for the model's setup, as upstream."""


class Server:
    """A server that answers at `port`; close it."""

    def __init__(self, running: Running, *, port: int, hold: contextlib.ExitStack) -> None:
        self.container = running
        self.port = port
        self._hold = hold

    def close(self) -> None:
        """Stop it, kindly first."""
        with self._hold:
            if self.container.poll() is None:
                self.container.stop()
            self.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()


def start(
    image: StoredImage,
    *,
    store: Store,
    options: Options | None = None,
    host: str = LOOPBACK,
    port: int | None = None,
    arguments: Sequence[str] = (),
    setup_timeout: float = SETUP_TIMEOUT,
    wait: bool = True,
    engine: Engine = container,
    report: Report | None = None,
    fetch: Fetch | None = None,
) -> Server:
    """Start the image's server and, with `wait`, return when its model is ready.

    `port` `None` means any free one.  Options' `command` replaces the image's; `arguments` and `--host HOST` are added
    to it, the environment gets `PORT`, and it reads nothing.  `engine` runs the container.  Raises `PredictionError`
    when the setup fails.
    """
    options = options or Options()
    command = options.command or tuple((image.config.get("config") or {}).get("Cmd") or ())
    for attempt in range(ATTEMPTS if port is None else 1):
        with contextlib.ExitStack() as stack:
            chosen = _reserve(store.root / "locks", stack=stack) if port is None else _check_free(host, port)
            changed = dataclasses.replace(
                options,
                command=(*command, *arguments, "--host", host),
                env={**options.env, "PORT": str(chosen)},
                stdin=DEVNULL,
            )
            running = engine.start(image, store=store, options=changed, report=report, fetch=fetch)
            stack.push(lambda kind, *_, running=running: running.close() if kind else None)
            try:
                if wait:
                    client.wait_ready(chosen, ended=running.poll, timeout=setup_timeout)
            except PredictionError:
                lost = running.poll() is not None and port is None and not _is_free(host, chosen)
                if not lost or attempt == ATTEMPTS - 1:
                    raise
                running.close()
                continue  # somebody else took the port meanwhile
            return Server(running, port=chosen, hold=stack.pop_all())
    raise AssertionError("unreachable")


def _is_free(host: str, port: int) -> bool:
    return _why_not(host, port) is None


def _why_not(host: str, port: int) -> OSError | None:
    """What keeps us from listening there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            return problem
    return None


def _check_free(host: str, port: int) -> int:
    problem = _why_not(host, port)
    if problem is None:
        return port
    if problem.errno == errno.EADDRINUSE:
        raise SandboxError(f"port {port} of {host} is taken", hint="choose another with `--port`")
    raise SandboxError(
        f"could not listen at port {port} of {host}: {(problem.strerror or str(problem)).lower()}",
        hint="choose another with `--host` and `--port`; ports below 1024 are often for root only",
    ) from problem


def _reserve(locks: Path, *, stack: contextlib.ExitStack) -> int:
    """A free port that no other of our processes takes: it is locked until the server has ended."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        file = stack.enter_context((locks / f"port-{port}").open("a"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        stack.callback((locks / f"port-{port}").unlink, missing_ok=True)
        return port
