"""A proxy in front of a registry that does to requests what networks, proxies and registries do to them."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

CHALLENGE = 'Bearer realm="http://{host}/token",service="faulty"'
JSON = "application/json"
FAULTS = (
    *("cut request", "cut answer", "429", "500", "502", "503", "401", "wrong digest", "short answer", "slow"),
    *("relative location", "changing location", "no mount", "chunk limits", "expired", "full disk"),
)


class Faulty:
    """The proxy.  `choose(method, path)` names the fault of each request, or none; `log` holds what was forwarded.

    `received` counts the bytes of bodies that reached the registry, by path without the query.
    """

    def __init__(self, target: str, choose: Callable[[str, str], str | None]) -> None:
        self.target = target
        self.choose = choose
        self.log: list[tuple[str, str, str]] = []
        self.received: dict[str, int] = {}
        self.seed = random.Random(0)
        self.before: Callable[[str, str], None] = lambda method, path: None
        outer = self

        class Handler(_Handler):
            proxy = outer

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer with a body waits 40 ms
    proxy: Faulty

    def serve(self) -> None:
        proxy, path = self.proxy, urlsplit(self.path).path
        if path == "/token":
            return self.answer(200, b'{"token": "good", "expires_in": 3600}')
        proxy.before(self.command, self.path)
        fault = proxy.choose(self.command, self.path)
        proxy.log.append((self.command, self.path, fault or ""))
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut request":
            return self.cut(length)
        body = self.rfile.read(length)
        if len(body) < length:  # the client itself went away: what came goes on, as through any proxy
            return self.cut(length, body=body)
        if fault in ("429", "500", "502", "503"):
            return self.answer(int(fault), error("UNAVAILABLE"), {"Retry-After": "0"})
        if fault == "401":
            return self.answer(401, error("UNAUTHORIZED"), {"WWW-Authenticate": CHALLENGE.format(host=proxy.host)})
        if fault == "full disk" and self.command in ("PATCH", "PUT"):
            return self.answer(500, error("UNKNOWN", "no space left on device"))
        if fault == "expired" and "/uploads/" in path and self.command != "POST":
            self.forward(b"", method="DELETE", path=self.path)
            return self.answer(404, error("BLOB_UPLOAD_UNKNOWN"))
        target = self.path
        if fault == "no mount":
            target = re.sub(r"\?mount=.*", "", target)
        proxy.received[path] = proxy.received.get(path, 0) + len(body)
        status, headers, data = self.forward(body, method=self.command, path=target)
        self.distort(headers, fault=fault, status=status)
        if fault == "cut answer":
            cut = proxy.seed.randrange(len(data)) if data else 0
            return self.answer(status, data[:cut], headers, length=len(data) + (0 if data else 1))
        if fault == "short answer" and len(data) > 1 and self.command == "GET":
            return self.answer(status, data[: len(data) // 2], headers)
        if fault == "slow":
            time.sleep(0.01)
        return self.answer(status, data, headers)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = serve  # noqa: N815

    def distort(self, headers: dict[str, str], *, fault: str | None, status: int) -> None:
        location = headers.get("Location")
        if location:
            own = urlsplit(location)
            local = f"{own.path}?{own.query}" if own.query else own.path
            headers["Location"] = local if fault == "relative location" else f"http://{self.proxy.host}{local}"
            if fault == "changing location" and "/uploads/" in local:
                headers["Location"] += f"&again={self.proxy.seed.randrange(1000)}"
        if fault == "wrong digest" and "Docker-Content-Digest" in headers:
            headers["Docker-Content-Digest"] = "sha256:" + "5" * 64
        if fault == "chunk limits" and status == 202 and self.command == "POST":
            headers |= {"OCI-Chunk-Min-Length": "1000", "OCI-Chunk-Max-Length": "20000"}

    def forward(self, body: bytes, *, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        host, _, port = self.proxy.target.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "content-length")}
        connection.request(method, path, body or None, {**kept, "Content-Length": str(len(body))})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        drop = ("connection", "transfer-encoding", "date", "content-length")
        headers = {k: v for k, v in response.getheaders() if k.lower() not in drop}
        if method == "HEAD":
            headers["Content-Length"] = response.getheader("Content-Length") or "0"
        return response.status, headers, data

    def cut(self, length: int, body: bytes | None = None) -> None:
        """Forward a part of the request, and drop both connections."""
        if body is None:
            body = self.rfile.read(self.proxy.seed.randrange(length)) if length else b""
        host, _, port = self.proxy.target.partition(":")
        path = urlsplit(self.path).path
        if length:
            self.proxy.received[path] = self.proxy.received.get(path, 0) + len(body)
            with socket.create_connection((host, int(port))) as upstream:
                lines = [f"{self.command} {self.path} HTTP/1.1", f"Host: {self.proxy.target}"]
                lines += [f"{k}: {v}" for k, v in self.headers.items() if k.lower() not in ("host", "connection")]
                upstream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
                time.sleep(0.005)
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        headers = {"Content-Type": JSON, **(headers or {})}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        if length is not None and length != len(data):
            self.close_connection = True
            self.wfile.flush()
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


def error(code: str, message: str = "") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
