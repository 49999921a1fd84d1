"""Bytes that are not, or only just, HTTP: the server refuses them, answers the others and lives on."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_image import PATIENCE, Server, document, serving

SOURCE = """
    from cog import BaseRunner
    class Runner(BaseRunner):
        def run(self, text: str = "x") -> str:
            return text
"""
JSON = b"Host: x\r\nContent-Type: application/json\r\n"
BODY = b'{"input":{"text":"abc"}}'
POST = b"POST /predictions HTTP/1.1\r\n" + JSON
WHOLE = POST + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
GET = b"GET /health-check HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    schema = document({"text": {"type": "string"}})
    with serving(tmp_path_factory.mktemp("hostile"), SOURCE, schema=schema) as server:
        yield server
        worker = server.worker_pid()
        assert server.end() == 0
        assert not Path(f"/proc/{worker}").exists()
        for word in ("Traceback", "Exception in ASGI"):
            assert word not in server.output()


@pytest.fixture(autouse=True)
def _unharmed(server: Server) -> Iterator[None]:
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    assert server.predict(text="before")["output"] == "before"
    before = len(list(descriptors.iterdir()))
    yield
    server.wait("READY")  # what broke off may have been a prediction
    assert server.predict(text="after")["output"] == "after"
    deadline = time.monotonic() + PATIENCE
    while len(list(descriptors.iterdir())) > before:
        assert time.monotonic() < deadline, "a connection is left open"
        time.sleep(0.01)


Enough = Callable[[bytes], bool]


def talk(server: Server, data: bytes, *, end: bool = False, until: Enough = bool) -> bytes:
    """Send, and read as `heard` does; `end` says that nothing more will be sent."""
    with connected(server) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        return heard(connection, until=until)


def connected(server: Server) -> socket.socket:
    port = int(server.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def heard(connection: socket.socket, *, until: Enough = bool) -> bytes:
    """What comes until the server closes, or has said what is enough and then nothing for a while."""
    found = b""
    connection.settimeout(0.25)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            data = connection.recv(1 << 16)
        except TimeoutError:
            if until(found):
                break
            continue
        except ConnectionResetError:
            break
        if not data:
            break
        found += data
    return found


def answered(found: bytes) -> bool:
    return b'"output":"abc"' in found


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


REFUSED: dict[str, bytes] = {
    "not HTTP": b"\x00\x01\x02 nonsense\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 200,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no such version": b"GET / HTTP/9.9\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "a space in a header's name": b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "a length that is no number": POST + b"Content-Length: many\r\n\r\n" + BODY,
    "a negative length": POST + b"Content-Length: -5\r\n\r\n" + BODY,
    "a length beyond all numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 24\r\n\r\n" + BODY,
    "chunks of no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
    "chunks of a huge size": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + BODY,
    "a body too long": POST + b"Content-Length: 200000000\r\n\r\n" + BODY,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server: Server, name: str) -> None:
    found = statuses(talk(server, REFUSED[name], end=name != "a body too long"))
    assert all(400 <= status < 500 for status in found), found


TAKEN: dict[str, bytes] = {
    "as it should be": WHOLE,
    "chunked": POST
    + b"Transfer-Encoding: chunked\r\n\r\n8\r\n"
    + BODY[:8]
    + b"\r\n10\r\n"
    + BODY[8:]
    + b"\r\n0\r\n\r\n",
    "HTTP/1.0": WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "connection closed": WHOLE.replace(b"Host: x", b"Host: x\r\nConnection: close"),
    "a thousand headers": WHOLE.replace(
        b"Host: x", b"Host: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(999)) + b"Z: z"
    ),
    "names in capitals": WHOLE.replace(b"Content-Type", b"CONTENT-TYPE"),
    "expects 100": WHOLE.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"),
    "an upgrade that is not made": WHOLE.replace(b"Host: x", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c"),  # Java
    "bytes over 127 in a header": WHOLE.replace(b"Host: x", b"Host: x\r\nX-Name: \xff\xfe"),
    "a query": WHOLE.replace(b"/predictions", b"/predictions?a=b&c"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(server: Server, name: str) -> None:
    answer = talk(server, TAKEN[name], until=answered)
    assert answered(answer), answer
    assert [status for status in statuses(answer.replace(b"HTTP/1.0", b"HTTP/1.1")) if status != 100] == [200]


@pytest.mark.parametrize("piece", [b"X-Long: " + b"a" * (1 << 16) + b"\r\n", b"a" * (1 << 16)], ids=["many", "one"])
def test_a_head_without_end_is_refused(server: Server, piece: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-First: ")
        try:
            for _ in range(64):
                connection.sendall(piece)
            found = statuses(heard(connection, until=lambda _: True))
        except ConnectionError:  # refused, and closed before all was sent
            return
        assert found == [431]


def test_a_path_of_a_hundred_kilobytes(server: Server) -> None:
    found = statuses(talk(server, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert all(400 <= status < 500 for status in found), found


@pytest.mark.parametrize("cut", [10, len(POST), len(WHOLE) - 1])
def test_what_breaks_off_is_dropped(server: Server, cut: int) -> None:
    assert [status for status in statuses(talk(server, WHOLE[:cut], end=True)) if status < 400] == []


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    requests: list[Any] = []
    for index in range(20):
        body = json.dumps({"id": f"p{index}", "input": {"text": str(index)}}).encode()
        requests.append(POST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        requests.append(GET)
    answers = talk(server, b"".join(requests), until=lambda found: len(statuses(found)) == 40)
    assert statuses(answers) == [200] * 40
    found = [answers.index(b'"id":"p%d"' % index) for index in range(20)]
    assert found == sorted(found)


def test_a_body_longer_than_it_says_is_another_request(server: Server) -> None:
    found = statuses(talk(server, WHOLE + b"and more\r\n\r\n", until=lambda found: 400 in statuses(found)))
    assert found[-1] == 400
    assert all(status == 200 for status in found[:-1])


def test_many_connections_that_say_nothing(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for index in range(200):
            connection = stack.enter_context(connected(server))
            connection.sendall(POST[: index % len(POST)])
        assert server.predict(text="still")["output"] == "still"


@pytest.mark.parametrize("name", ["as it should be", "chunked", "an upgrade that is not made"])
def test_a_request_a_byte_at_a_time(server: Server, name: str) -> None:
    with connected(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(TAKEN[name])):
            connection.sendall(TAKEN[name][index : index + 1])
        assert answered(heard(connection, until=answered))
