"""The whole application on FastAPI: every route, the discovery page, the OpenAPI document, a page to try a model.

Importing FastAPI takes longer than the start of everything else together, so `app.py` serves what must be quick itself
and makes this one when it is first asked for something else.  No state of its own.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, Optional, Tuple

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import cog
from cog.server.files import encode_json

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "docs.html")

DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data: http: https:; media-src 'self' data: http: https:; base-uri 'none'; form-action 'none'"
)
"""The page may talk to this server only, and show what a model made."""

DISCOVERY = {
    "cog_version": cog.__version__,
    "docs_url": "/docs",
    "healthcheck_url": "/health-check",
    "metrics_url": "/metrics",
    "openapi_url": "/openapi.json",
    "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
    "predictions_idempotent_url": "/predictions/{prediction_id}",
    "predictions_url": "/predictions",
    "shutdown_url": "/shutdown",
}

TRAININGS = {
    "trainings_cancel_url": "/trainings/{training_id}/cancel",
    "trainings_idempotent_url": "/trainings/{training_id}",
    "trainings_url": "/trainings",
}


class JSON(Response):
    """A JSON body, compact."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return encode_json(content)


def make_pages(
    routes: Iterable[Tuple[str, Tuple[str, ...], Any]], *, document: Optional[bytes], trainable: bool
) -> FastAPI:
    """The application.  `routes`: path, methods and ASGI application of each route that is not made here."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.router.routes += [Route(path, endpoint, methods=list(methods)) for path, methods, endpoint in routes]
    discovery: Dict[str, str] = {**DISCOVERY, **(TRAININGS if trainable else {})}

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, problem: HTTPException) -> Response:
        return Response(status_code=problem.status_code, headers=problem.headers)

    @app.api_route("/", methods=["GET", "HEAD"])
    async def root() -> Response:
        return JSON(discovery)

    @app.api_route("/openapi.json", methods=["GET", "HEAD"])
    async def openapi() -> Response:
        if document is None:
            return JSON({"error": "OpenAPI schema not available"}, status_code=503)
        return Response(document, media_type="application/json")

    @app.api_route("/docs", methods=["GET", "HEAD"])
    async def docs() -> Response:
        with open(DOCS, "rb") as file:
            page = file.read()
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": DOCS_POLICY})

    return app
