"""A stand-in for Replicate's registry: docker-registry behind a token service that speaks r8.im's login calls."""

from __future__ import annotations

import json
import urllib.parse
from urllib.parse import urlsplit

from faulty import Faulty, _Handler, error

TOKEN, OWNER = "s3cret", "smith"


class Replicate(Faulty):
    """The front.  `models` are the repositories that somebody has made on the web site."""

    def __init__(self, target: str) -> None:
        super().__init__(target, lambda method, path: None)
        self.models = {f"{OWNER}/hello"}
        outer = self

        class Front(_Front):
            proxy = outer

        self._server.RequestHandlerClass = Front


class _Front(_Handler):
    proxy: Replicate

    def serve(self) -> None:
        path = urlsplit(self.path).path
        if path == "/cog/v1/display-token-url":
            return self.answer(200, json.dumps({"url": "https://replicate.example/auth/token"}).encode())
        if path == "/cog/v1/verify-token":
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if form.get("token") == [TOKEN]:
                return self.answer(200, json.dumps({"username": OWNER}).encode())
            return self.answer(404, b"{}")
        name = path.removeprefix("/v2/")
        known = any(name.startswith(f"{model}/") for model in self.proxy.models)
        if name and not known and self.headers.get("Authorization"):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return self.answer(404, error("NAME_UNKNOWN", "repository name not known to registry"))
        return super().serve()

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = serve  # noqa: N815
