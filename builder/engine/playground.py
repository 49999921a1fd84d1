"""A page to try a model with: the page itself, a proxy to the model's server, and a place for its webhooks.

Three kinds of paths: `/` is the page, `/api/...` goes to the model's server as it is, streams included, and
`/webhook/SECRET/NAME` takes what the model sends, which the page then gets at `/events`.  Nothing else is answered: no
file of this machine, no other host.  Requests of other pages in the same browser are refused.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import http.server
import json
import secrets
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.errors import InputError, SandboxError

PAGE = Path(__file__).with_name("playground.html")
KEPT = 1000
"""Webhooks that are remembered, the newest."""
BODY_MAX = 1 << 30
CHUNK = 1 << 16
HOP = frozenset(["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"])
"""Headers that are between two neighbours (RFC 9110, 7.6.1) or made anew."""


class Sink:
    """What webhooks brought, numbered from 1; safe to use from threads."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(16)
        self._events: collections.deque[tuple[int, str, Any]] = collections.deque(maxlen=KEPT)
        self._count = 0
        self._lock = threading.Lock()

    def put(self, name: str, body: Any) -> None:
        """Remember one."""
        with self._lock:
            self._count += 1
            self._events.append((self._count, name, body))

    def after(self, number: int) -> list[dict[str, Any]]:
        """Those that came after that one."""
        with self._lock:
            return [{"number": n, "name": name, "body": body} for n, name, body in self._events if n > number]


@contextlib.contextmanager
def serving(*, host: str, port: int, target: str, webhook_host: str) -> Iterator[int]:
    """Serve the page at `host` and `port` (0: any free one, which this yields) for the server at the URL `target`.

    `webhook_host` is the name by which the model reaches this machine.
    """
    parts = urllib.parse.urlsplit(target)
    try:
        known = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:  # a port that is no number
        known = False
    if not known:
        raise InputError(
            f"`--target {target}` is not the URL of a server", hint="as in `--target http://localhost:8393`"
        )
    sink = Sink()
    try:
        server = http.server.ThreadingHTTPServer((host, port), _answer(parts, sink=sink, webhook_host=webhook_host))
    except OSError as problem:
        raise SandboxError(
            f"could not listen at port {port} of {host}: {(problem.strerror or str(problem)).lower()}",
            hint="choose another port",
        ) from problem
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def _answer(
    target: urllib.parse.SplitResult, *, sink: Sink, webhook_host: str
) -> type[http.server.BaseHTTPRequestHandler]:
    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if not self._is_own_page():
                self._json(403, {"error": "only the playground's own page may ask"})
            elif path.startswith("/api/"):
                self._proxy()
            elif path == "/":
                self._send(200, PAGE.read_bytes(), kind="text/html; charset=utf-8")
            elif path == "/config":
                port = self.server.server_address[1]  # type: ignore[index]
                url = f"http://{webhook_host}:{port}/webhook/{sink.secret}"
                self._json(200, {"webhook": url, "target": target.geturl()})
            elif path == "/events":
                number = urllib.parse.parse_qs(query).get("after", ["0"])[0]
                self._json(200, sink.after(int(number) if number.isdecimal() else 0))
            else:
                self._json(404, {"error": "not found"})

        def do_POST(self) -> None:
            if self.path.startswith("/api/"):
                if self._is_own_page():
                    self._proxy()
                else:
                    self.close_connection = True  # the body is not read
                    self._json(403, {"error": "only the playground's own page may ask"})
                return
            prefix = f"/webhook/{sink.secret}/"
            body = self._body()
            if not self.path.startswith(prefix) or body is None:
                self._json(404, {"error": "not found"})
                return
            try:
                sink.put(self.path.removeprefix(prefix), json.loads(body))
            except ValueError:
                self._json(400, {"error": "not JSON"})
            else:
                self._json(200, {})

        do_PUT = do_POST  # noqa: N815

        def _proxy(self) -> None:
            body = self._body()
            kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
            connection = kind(target.hostname or "", target.port)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            path = target.path.rstrip("/") + self.path.removeprefix("/api")
            try:
                connection.request(self.command, path, body=body, headers=headers)
                self._pass_on(connection.getresponse())
            except (ConnectionError, OSError, http.client.HTTPException) as problem:
                with contextlib.suppress(OSError):
                    self._json(502, {"error": f"the model's server does not answer: {problem}"})
                self.close_connection = True
            finally:
                connection.close()  # a page that goes away ends its prediction

        def _pass_on(self, answer: http.client.HTTPResponse) -> None:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while chunk := answer.read1(CHUNK):
                self.wfile.write(chunk)
                self.wfile.flush()
            self.close_connection = True

        def _is_own_page(self) -> bool:
            """Whether the browser says that our page asks; programs say nothing, and are not in a browser."""
            origin = self.headers.get("Origin")
            own = origin is None or urllib.parse.urlsplit(origin).netloc == self.headers.get("Host")
            name = (self.headers.get("Host") or "").rpartition(":")[0].strip("[]")
            bound = str(self.server.server_address[0])  # type: ignore[index]
            local = name in ("localhost", "127.0.0.1", "::1", bound) or bound in ("0.0.0.0", "::")  # noqa: S104
            return own and local

        def _body(self) -> bytes | None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > BODY_MAX:
                self.close_connection = True
                return None
            return self.rfile.read(int(length)) if int(length) or self.command != "GET" else None

        def _json(self, code: int, value: Any) -> None:
            self._send(code, json.dumps(value).encode(), kind="application/json")

        def _send(self, code: int, body: bytes, *, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header(
                "Content-Security-Policy", "default-src 'self' data: blob: 'unsafe-inline'; frame-ancestors 'none'"
            )
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: what the user sees is the model's."""

    return Answer
