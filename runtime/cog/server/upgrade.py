"""Requests that offer to change the protocol (`Upgrade: h2c`, as Java's client does): served as if they did not.

httptools stops where such a request's head ends, and uvicorn then takes it for one without a body.  Knows uvicorn's
protocol of httptools by its shape only; any other is left as it is.
"""

from __future__ import annotations

import sys
from typing import Any

FRAMING = (b"content-length", b"transfer-encoding")


def stubborn(protocol: Any) -> Any:
    """The `protocol` of uvicorn, with bodies read even after an offer to upgrade."""
    if not hasattr(protocol, "_unsupported_upgrade_warning"):
        return protocol

    class Stubborn(protocol):  # type: ignore[misc]
        def data_received(self, data: bytes) -> None:
            self.arrived = data
            super().data_received(data)

        def _unsupported_upgrade_warning(self) -> None:
            # Called while the parser's exception is handled: it says how far the parser went.
            stopped = sys.exc_info()[1]
            rest = self.arrived[stopped.args[0] :] if stopped is not None and stopped.args else b""
            _read_on(self, rest)

    return Stubborn


class _Body:
    """Receives what a parser finds in a body, for the request that is being served."""

    def __init__(self, protocol: Any) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


def _read_on(protocol: Any, rest: bytes) -> None:
    import httptools

    cycle = protocol.cycle
    cycle.keep_alive = False  # what may come after the body is not looked at
    cycle.more_body = True
    cycle.message_event.clear()
    protocol.parser = httptools.HttpRequestParser(_Body(protocol))
    framing = [name + b": " + value + b"\r\n" for name, value in protocol.headers if name in FRAMING]
    try:
        protocol.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n")
        protocol.parser.feed_data(rest)
    except httptools.HttpParserError:
        protocol.send_400_response("Invalid HTTP request received.")
