"""An HTTP server that keeps what webhooks send, and answers as the test says."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PATIENCE = 60


@dataclasses.dataclass
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: Any
    at: float
    connection: int


class Receiver:
    """What came, in order.  `answer` gives the status (and headers) of the answer to the request number `n`."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[int], tuple[int, Mapping[str, str]]] = lambda n: (200, {})
        self.url = ""
        self._changed = threading.Condition()

    def add(self, item: Received) -> tuple[int, Mapping[str, str]]:
        with self._changed:
            self.received.append(item)
            self._changed.notify_all()
            number = len(self.received)
        return self.answer(number)

    def wait(self, enough: Callable[[list[Received]], bool]) -> list[Received]:
        """Wait until what came is `enough`."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while not enough(self.received):
                assert self._changed.wait(max(deadline - time.monotonic(), 0)), [item.body for item in self.received]
            return list(self.received)

    def until_completed(self, count: int = 1) -> list[Received]:
        """Wait for the `completed` of `count` predictions."""
        return self.wait(lambda items: sum(_ended(item.body) for item in items) >= count)


def _ended(body: Any) -> bool:
    return isinstance(body, dict) and body.get("status") in ("succeeded", "failed", "canceled")


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            item = Received(self.path, self.headers, json.loads(raw), time.monotonic(), self.client_address[1])
            status, headers = receiver.add(item)
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
