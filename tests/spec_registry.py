"""A small registry in memory that does all the distribution spec 1.1 asks: uploads go on where they were cut, and
manifests with a subject are listed.  Debian's docker-registry does neither."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from builder import oci


class SpecRegistry:
    """The registry; `uploads` holds the bytes of unfinished ones, `received` counts all bytes of blobs that came."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.received = 0
        self.asked: list[str] = []
        self.has_api = True
        self._own: list[tuple[str, Callable[[Any], bool | None]]] = []
        self.hold: Callable[[int], None] = lambda received: None
        outer = self

        class Handler(_Handler):
            registry = outer

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def on(self, part: str, answer: Callable[[Any], bool | None]) -> None:
        """Let `answer` answer requests whose path has that part, unless it says false."""
        self._own.append((part, answer))

    def own(self, path: str) -> Callable[[Any], bool | None] | None:
        return next((answer for part, answer in self._own if part in path), None)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: SpecRegistry

    def serve(self) -> None:
        registry, url = self.registry, urlsplit(self.path)
        registry.asked.append(f"{self.command} {url.path}")
        if (own := registry.own(self.path)) is not None and own(self) is not False:
            return None
        if url.path == "/v2/":
            return self.answer(200)
        match = re.fullmatch(r"/v2/(.+?)/(blobs/uploads|blobs|manifests|referrers)/(.*)", url.path)
        assert match, url.path
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if match[2] == "blobs/uploads":
            return self.upload(match[1], match[3], query)
        if match[2] == "blobs":
            data = registry.blobs.get(match[3])
            return self.answer(404) if data is None else self.answer(200, data)
        if match[2] == "manifests":
            return self.manifest(match[1], match[3])
        return self.referrers(match[3])

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = serve  # noqa: N815

    def upload(self, repository: str, name: str, query: dict[str, str]) -> None:
        registry = self.registry
        if self.command == "POST":
            name = str(uuid.uuid4())
            registry.uploads[name] = bytearray()
        held = registry.uploads.get(name)
        if held is None:
            return self.answer(404)
        where = {"Location": f"/v2/{repository}/blobs/uploads/{name}"}
        if self.command == "PATCH" and self.headers.get("Content-Range", "0-0").split("-")[0] != str(len(held)):
            return self.answer(416, headers=where)
        left = int(self.headers.get("Content-Length") or 0)
        while left and (data := self.rfile.read1(min(left, 16384))):  # type: ignore[attr-defined]
            held += data
            left -= len(data)
            registry.received += len(data)
            registry.hold(registry.received)
        where |= {"Range": f"0-{len(held) - 1}"} if held else {}
        if self.command == "PUT" and not left:
            digest = "sha256:" + hashlib.sha256(held).hexdigest()
            if digest != query["digest"]:
                return self.answer(400)
            registry.blobs[digest] = bytes(held)
            del registry.uploads[name]
            return self.answer(201, headers={"Docker-Content-Digest": digest})
        return self.answer(204 if self.command == "GET" else 202, headers=where)

    def manifest(self, repository: str, name: str) -> None:
        registry = self.registry
        if self.command == "PUT":
            data = self.rfile.read(int(self.headers["Content-Length"]))
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            registry.manifests[name] = registry.manifests[digest] = (self.headers["Content-Type"], data)
            headers = {"Docker-Content-Digest": digest}
            subject = json.loads(data).get("subject")
            if subject and registry.has_api:
                headers["OCI-Subject"] = subject["digest"]
            return self.answer(201, headers=headers)
        if name not in registry.manifests:
            return self.answer(404)
        media_type, data = registry.manifests[name]
        return self.answer(200, data, {"Content-Type": media_type})

    def referrers(self, digest: str) -> None:
        registry = self.registry
        if not registry.has_api:
            return self.answer(404)
        entries = []
        for name, (media_type, data) in registry.manifests.items():
            document = json.loads(data)
            if name.startswith("sha256:") and (document.get("subject") or {}).get("digest") == digest:
                entry = {"mediaType": media_type, "digest": name, "size": len(data)}
                entries.append({**entry, "artifactType": document.get("artifactType", "")})
        body = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}).encode()
        return self.answer(200, body, {"Content-Type": oci.INDEX})

    def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
