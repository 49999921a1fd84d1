"""Runs the application on uvicorn: event loop, signals, draining.  The only file that names uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import Any, Callable, Iterator, List

from uvicorn import Config, Server

from cog.server.heads import bounded
from cog.server.upgrade import stubborn

KEEP_ALIVE = 75
"""Seconds that a connection may be idle: longer than the load balancers in front (60 as a rule) keep theirs."""

STOPPING = (signal.SIGTERM, signal.SIGINT)


class _Server(Server):
    """uvicorn's server without its own signal handling, which would end the process by the signal it got."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Cork:
    """A transport that sends the head of an answer together with what follows, which is one packet less to wait for."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Of `asyncio.WriteTransport`."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 2") and data.endswith(b"\r\n\r\n"):
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)  # for those without a body, or with a late one
            return
        self._transport.write(data)

    def close(self) -> None:
        """Of `asyncio.BaseTransport`."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


def corked(protocol: Any) -> Any:
    """The `protocol` of uvicorn with its transport corked."""

    class Corked(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Cork(transport))

    return Corked


def run(build: Callable[[Callable[[], None]], Any], *, listener: socket.socket, ignore: List[signal.Signals]) -> None:
    """Serve until SIGTERM, SIGINT or a call of the function that `build` is handed.

    Then no connection is taken any more, and what runs is finished; a second signal does not wait for it.
    """
    loop: asyncio.AbstractEventLoop
    try:
        import uvloop

        loop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(build, listener=listener, ignore=ignore))
    finally:
        loop.close()


async def _serve(build: Callable[[Callable[[], None]], Any], *, listener: socket.socket, ignore: List[Any]) -> None:
    server: Any = None

    def shut_down() -> None:
        server.should_exit = True

    def signalled() -> None:
        if server.should_exit:
            server.force_exit = True
            app.hurry()
        shut_down()

    app = build(shut_down)
    config = Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE,
    )
    config.load()
    config.http_protocol_class = corked(bounded(stubborn(config.http_protocol_class)))
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, (lambda: None) if number in ignore else signalled)
    await server.serve(sockets=[listener])
