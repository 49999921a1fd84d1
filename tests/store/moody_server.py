"""A file server on loopback that misbehaves as it is told."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import re
import socket
import threading
import time

from builder.plan import Remote


@dataclasses.dataclass
class Served:
    """What the server has, how it behaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    manner: str = ""
    asked: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    authorization: list[str] = dataclasses.field(default_factory=list)
    together: int = 0
    most_together: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def remote(self, name: str, data: bytes, *, urls: tuple[str, ...] | None = None) -> Remote:
        self.files[name] = data
        sha256 = hashlib.sha256(data).hexdigest()
        return Remote(sha256=sha256, size=len(data), name=name, urls=urls or (f"{self.url}/{name}",))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def do_GET(self) -> None:
        served = self.served
        name = self.path.lstrip("/").split("?")[0]
        asked = self.headers.get("Range", "")
        with served.lock:
            served.asked.append((name, asked))
            served.authorization.append(self.headers.get("Authorization", ""))
            served.together += 1
            served.most_together = max(served.most_together, served.together)
            attempt = sum(other == name for other, _ in served.asked)
        try:
            self.answer(name, asked=asked, attempt=attempt)
        finally:
            with served.lock:
                served.together -= 1

    def answer(self, name: str, *, asked: str, attempt: int) -> None:
        served = self.served
        if name not in served.files:
            return self.reply(404, b"no such file")
        data = served.files[name]
        match served.manner:
            case "slow":
                time.sleep(0.1)
            case "cut":
                return self.cut(data, asked=asked, honour_range=True)
            case "cut, no ranges":
                return self.cut(data, asked=asked, honour_range=False, last=attempt == 3)
            case "416":
                if asked:
                    return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            case "other range":
                if asked:
                    return self.reply(206, data[7:], {"Content-Range": f"bytes 7-{len(data) - 1}/{len(data)}"})
            case "busy twice":
                if attempt <= 2:
                    return self.reply(503, b"later", {"Retry-After": "0"})
            case "encoded":
                return self.reply(200, data, {"Content-Encoding": "gzip"})
            case "redirect":
                if not name.startswith("moved-"):
                    return self.reply(302, b"", {"Location": f"{served.url}/moved-{name}"})
            case "drop":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return None
        if asked:
            start, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", asked).groups())  # type: ignore[union-attr]
            part = data[start : end + 1]
            return self.reply(206, part, {"Content-Range": f"bytes {start}-{end}/{len(data)}"})
        return self.reply(200, data)

    def cut(self, data: bytes, *, asked: str, honour_range: bool, last: bool = False) -> None:
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and honour_range else 0
        rest = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest if last else rest[: len(data) // 3 + 1])
        self.close_connection = True

    def reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""
