"""The webhook client against servers that behave in every way: kept and closed connections, TLS, proxies, nonsense."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cog.server.client as client_module
import pytest
from cog.server.client import Client, URLError, parse_url
from cog.server.prediction import FileOutput

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Handler = Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server made of what it answers to the requests it gets, one after the other."""

    def __init__(self, *answers: bytes, close_after: bool = False) -> None:
        self.answers = list(answers)
        self.close_after = close_after
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else OK
                writer.write(answer)
                await writer.drain()
                if self.close_after or b"hang up" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.close()


def talk(
    peer: Peer, script: Callable[[Client, str], Awaitable[Any]], *, tls: ssl.SSLContext | None = None, **options: Any
) -> Any:
    """Run `script` with a client and the address of the peer."""

    async def run() -> Any:
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        given = {name: value.format(port=port) for name, value in options.get("proxies", {}).items()}
        client = Client(user_agent="test/1", proxies=given)
        if "context" in options:
            client._tls = options["context"]
        try:
            return await script(client, f"{'https' if tls else 'http'}://localhost:{port}")
        finally:
            client.close()
            server.close()

    return asyncio.run(asyncio.wait_for(run(), 60))


async def two(client: Client, url: str) -> list[int]:
    return [await client.post(f"{url}/{i}", [b"{}"], headers={"A": "b"}) for i in (1, 2)]


def test_a_request_and_a_kept_connection() -> None:
    peer = Peer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert talk(peer, two) == [200, 200]
    assert peer.connections == 1
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /1 HTTP/1.1"
    assert "User-Agent: test/1" in lines
    assert "A: b" in lines
    assert "Content-Length: 2" in lines
    assert body == b"{}"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", 204),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 500),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 10_000, 200),
        (b"HTTP/1.1 200\r\nX: hang up\r\n\r\n", 200),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: CLOSE\r\n\r\n", 301),
    ],
)
def test_connections_that_cannot_be_kept(answer: bytes, status: int) -> None:
    peer = Peer(answer)
    assert talk(peer, two) == [status, 200]
    assert peer.connections == 2


def test_a_connection_that_was_closed_meanwhile() -> None:
    peer = Peer(close_after=True)

    async def script(client: Client, url: str) -> list[int]:
        first = await client.post(url, [b"{}"], headers={})
        await asyncio.sleep(0.05)
        return [first, await client.post(url, [b"{}"], headers={})]

    assert talk(peer, script) == [200, 200]
    assert peer.connections == 2


def test_connections_that_nobody_uses_any_more_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "IDLE_MAX", 0.05)
    peer = Peer()

    async def script(client: Client, url: str) -> None:
        for count in (3, 4):
            assert await asyncio.gather(*(client.post(url, [b"{}"], headers={}) for _ in range(3))) == [200] * 3
            while client._origins or peer.closed < peer.connections:
                await asyncio.sleep(0.01)
            assert peer.connections >= count, "and what comes later has one of its own"

    talk(peer, script)


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"x" * (1 << 17), b"hang up"])
def test_what_is_no_answer(answer: bytes) -> None:
    peer = Peer(answer)

    async def script(client: Client, url: str) -> int:
        return await client.post(url, [b"{}"], headers={})

    with pytest.raises((ValueError, OSError)):
        talk(peer, script)
    assert len(peer.requests) == 1, "it is not known whether it was heard, so it is not said twice"


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "TIMEOUT", 0.1)

    async def script(client: Client, url: str) -> int:
        return await client.post(url, [b"{}"], headers={})

    with pytest.raises(asyncio.TimeoutError):
        talk(Peer(b"HTTP/1.1 "), script)


def test_many_at_a_time_to_one_address_wait_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECTIONS_MAX", 3)
    peer = Peer()

    async def script(client: Client, url: str) -> list[int]:
        return list(await asyncio.gather(*(client.post(url, [b"{}"], headers={}) for _ in range(50))))

    assert talk(peer, script) == [200] * 50
    assert peer.connections <= 3


def test_redirects_keep_the_method_and_not_the_secret() -> None:
    other = Peer()

    async def script(client: Client, url: str) -> int:
        server = await asyncio.start_server(other.serve, "127.0.0.1", 0)
        there = f"http://localhost:{server.sockets[0].getsockname()[1]}/there?a=1"
        peer.answers = [
            b"HTTP/1.1 307 Here\r\nLocation: here\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 308 There\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % there.encode(),
        ]
        status = await client.post(f"{url}/a/b", [b"body"], headers={"Authorization": "Bearer x"})
        server.close()
        return status

    peer = Peer()
    assert talk(peer, script) == 200
    assert [request.split()[1] for request in peer.requests] == [b"/a/b", b"/a/here"]
    assert all(b"Bearer x" in request for request in peer.requests)
    assert other.requests[0].startswith(b"POST /there?a=1 HTTP/1.1")
    assert b"Bearer x" not in other.requests[0]
    assert other.requests[0].endswith(b"body")


def test_a_circle_of_redirects_ends() -> None:
    peer = Peer(*[b"HTTP/1.1 307 Round\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"] * 100)

    async def script(client: Client, url: str) -> int:
        return await client.post(url, [b""], headers={})

    assert talk(peer, script) == 307


def test_a_body_from_a_file_while_the_other_side_is_slow(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "f").write_bytes(data)
    file = FileOutput(str(tmp_path / "f"), "f.bin", "application/octet-stream")

    async def script(client: Client, url: str) -> int:
        return await client.post(url, [b'{"output":"', file, b'"}'], headers={})

    import base64

    peer = Peer()
    assert talk(peer, script) == 200
    body = peer.requests[0].partition(b"\r\n\r\n")[2]
    assert body == b'{"output":"data:application/octet-stream;base64,' + base64.b64encode(data) + b'"}'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to test with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", f"{path}.crt",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def tls_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_tls(certificate: Path) -> None:
    peer = Peer()
    trusting = ssl.create_default_context(cafile=f"{certificate}.crt")
    assert talk(peer, two, tls=tls_of(certificate), context=trusting) == [200, 200]
    assert peer.connections == 1
    with pytest.raises(ssl.SSLError):
        talk(Peer(), two, tls=tls_of(certificate))


def test_a_proxy_for_http() -> None:
    peer = Peer()

    async def script(client: Client, url: str) -> list[int]:
        await client.post("http://elsewhere.test/x?y", [b"{}"], headers={})
        return await two(client, url)

    proxies = {"http": "http://user:pass@localhost:{port}", "no": "localhost"}
    assert talk(peer, script, proxies=proxies) == [200, 200]
    assert peer.requests[0].startswith(b"POST http://elsewhere.test/x?y HTTP/1.1\r\nHost: elsewhere.test\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in peer.requests[0]
    assert peer.requests[1].startswith(b"POST /1 HTTP/1.1\r\n"), "some hosts are asked directly"


def test_a_tunnel_for_https(certificate: Path) -> None:
    peer = Peer()
    asked: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        port = int(asked[-1].split()[1].rpartition(b":")[2])
        there, back = await asyncio.open_connection("localhost", port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def script(client: Client, url: str) -> list[int]:
        server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        client._proxies = {"https": f"localhost:{server.sockets[0].getsockname()[1]}"}
        statuses = await two(client, url)
        server.close()
        return statuses

    trusting = ssl.create_default_context(cafile=f"{certificate}.crt")
    assert talk(peer, script, tls=tls_of(certificate), context=trusting) == [200, 200]
    assert len(asked) == 1
    assert asked[0].startswith(b"CONNECT localhost:")


def test_a_proxy_that_refuses() -> None:
    peer = Peer(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    async def script(client: Client, url: str) -> int:
        return await client.post("https://elsewhere.test/", [b"{}"], headers={})

    with pytest.raises(OSError, match="the proxy answered CONNECT with status 403"):
        talk(peer, script, proxies={"https": "http://localhost:{port}"})


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("http://a", "a", 80, "/", "a"),
        ("HTTPS://A.b:8443/x y/ü?q=1 2&r=%20#f", "a.b", 8443, "/x%20y/%C3%BC?q=1%202&r=%20", "a.b:8443"),
        ("https://[::1]:443/", "::1", 443, "/", "[::1]"),
        ("http://bücher.test/", "xn--bcher-kva.test", 80, "/", "xn--bcher-kva.test"),
    ],
)
def test_addresses(url: str, host: str, port: int, path: str, authority: str) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.path, target.authority) == (host, port, path, authority)


def test_credentials_in_an_address() -> None:
    assert parse_url("http://us%40er:p:w@h/").credentials == "dXNAZXI6cDp3"


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "ftp://a/", "http://", "http://:80/", "http://a:b/", "http://a:99999/", "http://a b/", "http://[::1",
        "http://a\x00/", "http://" + "ü" * 100 + "/", "http://\ud800/",
    ],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(URLError):
        parse_url(url)


def test_an_address_cannot_bring_headers() -> None:
    target = parse_url("http://a/x\r\nB: c\r\n\r\n?d\r\ne")
    assert not [part for part in target if isinstance(part, str) and ("\r" in part or "\n" in part or " " in part)]


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    talk(Peer(), two)
    assert threading.active_count() <= before
