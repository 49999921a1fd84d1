"""Runs the application on uvicorn: event loop, signals, draining.  The only file that names uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import Any, Callable, Iterator, List

from uvicorn import Config, Server

STOPPING = (signal.SIGTERM, signal.SIGINT)


class _Server(Server):
    """uvicorn's server without its own signal handling, which would end the process by the signal it got."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
            app.state.hurry()
        shut_down()

    app = build(shut_down)
    config = Config(app, log_config=None, access_log=False, lifespan="on", server_header=False)
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, (lambda: None) if number in ignore else signalled)
    await server.serve(sockets=[listener])
