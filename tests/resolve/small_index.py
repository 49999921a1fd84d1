"""Small real wheels and package indexes, on disk or over HTTP, and a report that remembers."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import os
import threading
import zipfile
from pathlib import Path

from packaging.utils import canonicalize_name

from builder.report import Quiet


class Told(Quiet):
    """A report that remembers its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Index:
    """A package index as files: `simple/NAME/index.html` and `files/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root / "files"
        self.files.mkdir(parents=True)
        (root / "simple").mkdir()

    @property
    def url(self) -> str:
        return (self.root / "simple").as_uri()

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        tag: str = "py3-none-any",
        requires: tuple[str, ...] = (),
        listed_hash: str | None = None,
        with_hash: bool = True,
    ) -> Path:
        path = make_wheel(self.files, name, version, tag=tag, requires=requires)
        digest = listed_hash or hashlib.sha256(path.read_bytes()).hexdigest()
        self._list(name, path.name, f"#sha256={digest}" if with_hash else "")
        return path

    def add_sdist(self, name: str, version: str = "1.0") -> None:
        path = self.files / f"{name}-{version}.tar.gz"
        path.write_bytes(b"not read")
        self._list(name, path.name, "")

    def offer(self, name: str, path: Path) -> None:
        """List a file of `files` that is there, by its hash."""
        self._list(name, path.name, f"#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}")

    def _list(self, name: str, filename: str, fragment: str) -> None:
        page = self.root / "simple" / canonicalize_name(name) / "index.html"
        page.parent.mkdir(exist_ok=True)
        with page.open("a") as out:
            out.write(f'<a href="../../files/{filename}{fragment}">{filename}</a>\n')


def make_wheel(
    folder: Path, name: str, version: str = "1.0", *, tag: str = "py3-none-any", requires: tuple[str, ...] = ()
) -> Path:
    """A wheel that pip and uv accept."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-{tag}.whl"
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class Served:
    """A folder over HTTP on loopback, optionally behind a user and password; remembers what was asked for."""

    def __init__(self, folder: Path, *, user: str = "") -> None:
        self.asked: list[tuple[str, str]] = []
        served = self
        wanted = "Basic " + base64.b64encode(user.encode()).decode()

        class Handler(http.server.SimpleHTTPRequestHandler):
            def send_head(self):  # type: ignore[no-untyped-def]
                served.asked.append((self.command, self.path))
                if user and self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="x"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return None
                return super().send_head()

            def log_message(self, *args: object) -> None:
                pass

        handler = functools.partial(Handler, directory=os.fspath(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
