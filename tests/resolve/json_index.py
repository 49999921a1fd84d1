"""A package index over HTTP as PEP 691 has it, with what it may say of a file: yanked, its metadata apart."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import threading
import zipfile
from pathlib import Path
from typing import Any

from small_index import make_wheel


@dataclasses.dataclass
class Held:
    """A file of the index: its content (None: gone), what the index says of it."""

    name: str
    content: bytes | None
    metadata: bytes
    sha256: str
    size: int
    yanked: str | bool = False


class JsonIndex:
    """On loopback; `files` may be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Held] = {}
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                answer, kind = index.answer(self.path), "application/vnd.pypi.simple.v1+json"
                self.send_response(200 if answer is not None else 404)
                self.send_header("Content-Type", kind if self.path.startswith("/simple/") else "text/plain")
                self.send_header("Content-Length", str(len(answer or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(answer or b"")

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/simple"

    def add(self, name: str, version: str, *, yanked: str | bool = False) -> Held:
        path = make_wheel(self.folder, name, version)
        with zipfile.ZipFile(path) as archive:
            metadata = archive.read(f"{name}-{version}.dist-info/METADATA")
        content = path.read_bytes()
        held = Held(path.name, content, metadata, hashlib.sha256(content).hexdigest(), len(content), yanked)
        self.files[path.name] = held
        return held

    def answer(self, path: str) -> bytes | None:
        """The body for a path; None: there is no such file."""
        _, kind, name, *_ = [*path.split("/"), ""]
        if kind == "files":
            held = self.files[name.removesuffix(".metadata")]
            return held.metadata if name.endswith(".metadata") else held.content
        files = [held for held in self.files.values() if held.name.startswith(name.replace("-", "_") + "-")]
        return json.dumps(self._page(name, files)).encode() if files else None

    def _page(self, name: str, files: list[Held]) -> dict[str, Any]:
        listed = [
            {
                "filename": held.name,
                "url": f"/files/{held.name}",
                "hashes": {"sha256": held.sha256},
                "size": held.size,
                "yanked": held.yanked,
                "core-metadata": bool(held.metadata),
            }
            for held in files
        ]
        return {"meta": {"api-version": "1.1"}, "name": name, "versions": ["1.0"], "files": listed}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
