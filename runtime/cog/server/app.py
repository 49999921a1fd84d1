"""The routes, as a FastAPI application.  Requests in, the service asked, answers out; no state of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any, AsyncIterator, Callable, Dict, Optional, Tuple

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import cog
from cog.server.endpoints import NO_EVENTS, NO_TRAINING_EVENTS, Endpoint, Endpoints, Family
from cog.server.files import encode_json
from cog.server.service import Service
from cog.server.settings import Settings
from cog.server.validation import InputSchema
from cog.server.webhooks import Webhooks

DRAIN = 20.0
"""Seconds that webhooks have to be delivered when the server ends."""

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


class Application(FastAPI):
    """FastAPI, with a short cut for the paths where milliseconds count: past its middleware and its router."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.quick: Dict[Tuple[str, str], Endpoint] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            found = self.quick.get((scope["method"], scope["path"]))
            if found is not None:
                await found(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


class JSON(Response):
    """A JSON body, compact."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return encode_json(content)


def make_app(
    service: Service,
    *,
    settings: Settings,
    webhooks: Webhooks,
    document: Optional[bytes],
    parsed: Dict[str, Any],
    shut_down: Callable[[], None],
) -> FastAPI:
    """The application.  `document` is the OpenAPI document as it lies in the image, `parsed` what it says.

    When it ends, what runs is finished and webhooks are delivered; `app.state.hurry()` ends the waiting.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await _first(service.drain(), hurried.wait())
        await service.stop()
        await _first(webhooks.drain(seconds=DRAIN), hurried.wait())

    hurried = asyncio.Event()
    app = Application(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    app.state.hurry = hurried.set
    training_schema = InputSchema(parsed, name="TrainingInput")
    discovery = {**DISCOVERY, **(TRAININGS if training_schema.present else {})}

    for family in _families(settings, parsed, training_schema):
        endpoints = Endpoints(service, webhooks, family=family, history=settings.history)
        collection = app.quick["POST", family.path] = Endpoint(endpoints.collection)
        app.router.routes += [
            Route(family.path, collection, methods=["POST"]),
            Route(family.path + "/{identity}", Endpoint(endpoints.item), methods=["GET", "PUT"]),
            Route(family.path + "/{identity}/cancel", Endpoint(endpoints.cancel), methods=["POST"]),
        ]

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, problem: HTTPException) -> Response:
        return Response(status_code=problem.status_code, headers=problem.headers)

    @app.get("/")
    async def root() -> Response:
        return JSON(discovery)

    @app.get("/health-check")
    async def health() -> Response:
        return JSON(await service.health())

    @app.get("/openapi.json")
    async def openapi() -> Response:
        if document is None:
            return JSON({"error": "OpenAPI schema not available"}, status_code=503)
        return Response(document, media_type="application/json")

    @app.get("/docs")
    async def docs() -> Response:
        with open(DOCS, "rb") as file:
            page = file.read()
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": DOCS_POLICY})

    @app.post("/shutdown")
    async def shutdown() -> Response:
        shut_down()
        return JSON({})

    return app


async def _first(*things: Any) -> None:
    """Wait for one of them, and give the others up."""
    tasks = [asyncio.ensure_future(thing) for thing in things]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _families(settings: Settings, parsed: Dict[str, Any], training_schema: InputSchema) -> Tuple[Family, Family]:
    """Predictions and trainings.  A server in training mode runs trainings, whatever they are called."""
    training = settings.mode == "train"
    schema = training_schema if training else InputSchema(parsed)
    operation = parsed.get("paths", {}).get("/predictions", {}).get("post", {})
    streams = not training and bool(operation.get("x-cog-streaming"))
    return (
        Family("prediction", schema, streams, NO_TRAINING_EVENTS if training else NO_EVENTS),
        Family("training", training_schema, False, NO_TRAINING_EVENTS, mode="train" if settings.train_ref else ""),
    )
