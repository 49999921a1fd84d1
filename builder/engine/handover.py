"""Large input files by URL: a server on the loopback address that gives a model the files that were named, no others.

A data URL of a gigabyte would be held in memory several times over, here and in the container; this is copied by the
kernel.  Every URL holds a secret, for other users of the machine can reach the loopback address too.
"""

from __future__ import annotations

import os
import secrets
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer


class Handover:
    """Serves files from the first `url()` until it is closed; costs nothing before."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._server: ThreadingHTTPServer | None = None

    def url(self, path: Path) -> str:
        """Where the model can fetch the file; its last part is the file's name, so that the model knows its kind."""
        server = self._server = self._server or _serve(self._files)
        place = f"/{secrets.token_urlsafe(16)}/{urllib.parse.quote(path.name)}"
        self._files[place] = path
        return f"http://127.0.0.1:{server.server_address[1]}{place}"

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()


def _serve(files: dict[str, Path]) -> ThreadingHTTPServer:
    import http.server  # late: most predictions have no large file
    import threading

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            path = files.get(self.path)
            try:
                if path is None:
                    raise FileNotFoundError(self.path)
                with path.open("rb") as file:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/octet-stream")
                    self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
                    self.end_headers()
                    if body:
                        self.wfile.flush()
                        self.connection.settimeout(None)
                        self.connection.sendfile(file)
            except ConnectionError:
                self.close_connection = True
            except OSError:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing: what the user sees is the model's."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
