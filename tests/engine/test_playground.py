"""The playground: its page, the proxy, the webhooks, and who may ask."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.engine import playground
from builder.errors import InputError, SandboxError


class Model(http.server.BaseHTTPRequestHandler):
    """Says what it was asked; `/slow` sends half of its answer and waits."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"first\n")
            self.go_on.wait(30)
            self.wfile.write(b"second\n")
            self.close_connection = True
            return
        told = json.dumps([self.command, self.path, self.headers.get("Prefer"), len(body)]).encode()
        self.send_response(418 if self.path == "/teapot" else 200)
        self.send_header("X-Model", "yes")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = do_PUT = answer  # noqa: N815  http.server calls them so

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """A playground for `Model`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    Model.go_on.clear()
    target = f"http://127.0.0.1:{server.server_address[1]}"
    with playground.serving(host="127.0.0.1", port=0, target=target, webhook_host="example.test") as bound:
        yield bound
    server.shutdown()
    server.server_close()


def ask(
    port: int, path: str, *, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_page(port: int) -> None:
    code, body, headers = ask(port, "/")
    assert (code, body) == (200, playground.PAGE.read_bytes())
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    outside = re.findall(rb'(?:src|href)="(?!data:)[^"]*"|https?://[^\s"\'`]+', body)
    assert not outside  # it needs nothing from anywhere


def test_its_program_is_valid(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = re.search(r"<script>(.*)</script>", playground.PAGE.read_text(), re.DOTALL)
    assert script
    (tmp_path / "page.js").write_text(script[1])
    done = subprocess.run([node, "--check", tmp_path / "page.js"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_proxy(port: int) -> None:
    code, body, headers = ask(
        port, "/api/predictions/x?y=1", method="PUT", body=b"{}" * 100_000, headers={"Prefer": "respond-async"}
    )
    assert (code, headers["X-Model"]) == (200, "yes")
    assert json.loads(body) == ["PUT", "/predictions/x?y=1", "respond-async", 200_000]
    assert ask(port, "/api/teapot")[0] == 418
    assert json.loads(ask(port, "/api/predictions/x/cancel", method="POST")[1])[:2] == ["POST", "/predictions/x/cancel"]


def test_a_stream_is_passed_on_as_it_comes(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/api/slow")
    answer = connection.getresponse()
    assert answer.readline() == b"first\n"  # while the model has not said the rest
    Model.go_on.set()
    assert answer.read() == b"second\n"
    connection.close()


def test_webhooks(port: int) -> None:
    config = json.loads(ask(port, "/config")[1])
    prefix = f"http://example.test:{port}"
    assert config["webhook"].startswith(f"{prefix}/webhook/")
    place = config["webhook"].removeprefix(prefix)

    def tell(name: str, body: Any) -> int:
        return ask(port, f"{place}/{name}", method="POST", body=json.dumps(body).encode())[0]

    assert [tell("a", {"status": "processing"}), tell("b", {"status": "succeeded"})] == [200, 200]
    events = json.loads(ask(port, "/events")[1])
    assert [(one["name"], one["body"]["status"]) for one in events] == [("a", "processing"), ("b", "succeeded")]
    assert json.loads(ask(port, f"/events?after={events[0]['number']}")[1]) == events[1:]
    assert ask(port, f"{place}/a", method="POST", body=b"{")[0] == 400
    assert ask(port, "/webhook/guessed/a", method="POST", body=b"{}")[0] == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "/api", "/../playground.py", "//etc/passwd", "/playground.html"])
def test_nothing_else_is_there(port: int, path: str) -> None:
    assert ask(port, path)[0] == 404


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Host": "localhost:PORT", "Origin": "http://localhost:PORT"}, 200),
        ({"Host": "127.0.0.1:PORT", "Origin": "http://evil.test"}, 403),
        ({"Host": "evil.test:PORT"}, 403),  # a name that was made to point here (DNS rebinding)
        ({"Host": "evil.test:PORT", "Origin": "http://evil.test:PORT"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_pages_may_not_ask(port: int, headers: dict[str, str], code: int) -> None:
    sent = {name: value.replace("PORT", str(port)) for name, value in headers.items()}
    for path in ("/api/health-check", "/events", "/"):
        assert ask(port, path, headers=sent)[0] == code
    assert ask(port, "/api/predictions", method="POST", body=b"{}", headers=sent)[0] == code


def test_without_a_model() -> None:
    with playground.serving(host="127.0.0.1", port=0, target="http://127.0.0.1:9", webhook_host="x") as bound:
        code, body, _ = ask(bound, "/api/health-check")
        assert code == 502
        assert "does not answer" in json.loads(body)["error"]


@pytest.mark.parametrize("target", ["", "localhost:8393", "ftp://x", "http://", "http://x:port"])
def test_targets_that_are_none(target: str) -> None:
    with (
        pytest.raises(InputError, match="is not the URL of a server"),
        playground.serving(host="127.0.0.1", port=0, target=target, webhook_host="x"),
    ):
        pass


def test_a_port_that_is_taken(port: int) -> None:
    with (
        pytest.raises(SandboxError, match=f"could not listen at port {port}"),
        playground.serving(host="127.0.0.1", port=port, target="http://x", webhook_host="x"),
    ):
        pass
