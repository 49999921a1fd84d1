"""A folder over HTTP on loopback, with ranges or without, and files beside wheels or none; remembers what was sent."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Sent:
    """The server's address, and bytes sent of each path."""

    def __init__(self) -> None:
        self.url = ""
        self.bytes: dict[str, int] = {}
        self.asked: list[str] = []


@contextmanager
def served(folder: Path, *, ranges: bool = True) -> Iterator[Sent]:
    """Serve `folder` until the end of the block."""
    sent = Sent()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self, *, with_body: bool = True) -> None:
            sent.asked.append(self.path)
            path = folder / self.path.lstrip("/").partition("?")[0]
            path = path / "index.html" if path.is_dir() else path
            if not path.is_file():
                self.send_error(404)
                return
            data, code = path.read_bytes(), 200
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if match and ranges:
                data, code = data[int(match[1]) : int(match[2]) + 1], 206
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "text/html" if path.suffix == ".html" else "application/octet-stream")
            self.end_headers()
            if with_body:
                sent.bytes[path.name] = sent.bytes.get(path.name, 0) + len(data)
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET(with_body=False)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sent.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield sent
    finally:
        server.shutdown()
        server.server_close()
