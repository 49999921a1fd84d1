"""The application as the HTTP server sees it: life and death of the service, and the short way to the quick routes.

What is not quick, or not there, goes to the FastAPI application (`pages.py`), which has every route.  Plain ASGI.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import unquote

import cog
from cog.server.answers import send_body, send_json
from cog.server.endpoints import NO_EVENTS, NO_TRAINING_EVENTS, Endpoint, Endpoints, Family
from cog.server.service import Service
from cog.server.settings import Settings
from cog.server.telemetry import CONTENT_TYPE, Metrics
from cog.server.validation import InputSchema
from cog.server.webhooks import Webhooks

DRAIN = 20.0
"""Seconds that webhooks have to be delivered when the server ends."""

RouteTo = Tuple[str, Tuple[str, ...], Endpoint]


class Application:
    """Serves `routes` itself, and hands everything else to what `pages` makes.

    A parameter in the path of a route is `{identity}`, followed by nothing or by one word.
    """

    def __init__(
        self,
        service: Service,
        *,
        webhooks: Webhooks,
        routes: List[RouteTo],
        pages: Callable[[], Any],
    ) -> None:
        self._service = service
        self._webhooks = webhooks
        table = {(method, path): endpoint for path, methods, endpoint in routes for method in methods}
        self._exact = {key: endpoint for key, endpoint in table.items() if "{" not in key[1]}
        self._patterns = {key: endpoint for key, endpoint in table.items() if "{" in key[1]}
        self._pages = pages
        self._made: Any = None
        self._making: Optional["asyncio.Future[Any]"] = None
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """End the waiting for what runs when the server ends."""
        self._hurried.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the whole life of the server."""
        if scope["type"] == "http":
            found = self._exact.get((scope["method"], scope["path"])) or self._named(scope)
            await (found or self._made or await self._rest())(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    def _named(self, scope: Any) -> Optional[Endpoint]:
        # The path as it was sent: an id may have a slash in it, encoded.
        parts = scope.get("raw_path", b"").split(b"/")
        if len(parts) not in (3, 4) or not all(parts[1:]):
            return None
        first, identity, *word = (unquote(part.decode("latin-1"), errors="replace") for part in parts[1:])
        scope["path_params"] = {"identity": identity}
        return self._patterns.get((scope["method"], "/".join(["", first, "{identity}", *word])))

    async def _rest(self) -> Any:
        if self._making is None:
            self._making = asyncio.get_running_loop().run_in_executor(None, self._pages)
        self._made = await asyncio.shield(self._making)
        return self._made

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        self._service.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._unless_hurried(self._service.drain())
        await self._service.stop()
        await self._unless_hurried(self._webhooks.drain(seconds=DRAIN))
        await send({"type": "lifespan.shutdown.complete"})

    async def _unless_hurried(self, thing: Any) -> None:
        tasks = [asyncio.ensure_future(thing), asyncio.ensure_future(self._hurried.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


def make_app(
    service: Service,
    *,
    settings: Settings,
    webhooks: Webhooks,
    document: Optional[bytes],
    parsed: Dict[str, Any],
    shut_down: Callable[[], None],
) -> Application:
    """The application.  `document` is the OpenAPI document as it lies in the image, `parsed` what it says.

    When it ends, what runs is finished and webhooks are delivered.
    """
    training_schema = InputSchema(parsed, name="TrainingInput")
    metrics = Metrics()
    service.observers.append(metrics)

    async def health(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        await send_json(send, await service.health())

    async def numbers(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        status = (await service.health())["status"]
        worker = service.worker
        versions = {"cogsmith": cog.__version__, "python": worker.python}
        text = metrics.text(status=status, slots=worker.concurrency, restarts=worker.restarts, versions=versions)
        await send_body(send, 200, text, [(b"content-type", CONTENT_TYPE.encode())])

    async def shutdown(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        shut_down()
        await send_json(send, {})

    routes: List[RouteTo] = []
    for family in _families(settings, parsed, training_schema):
        endpoints = Endpoints(service, webhooks, family=family, history=settings.history)
        routes += [
            (family.path, ("POST",), Endpoint(endpoints.collection)),
            (family.path + "/{identity}", ("GET", "HEAD", "PUT"), Endpoint(endpoints.item)),
            (family.path + "/{identity}/cancel", ("POST",), Endpoint(endpoints.cancel)),
        ]
    routes += [
        ("/health-check", ("GET", "HEAD"), Endpoint(health)),
        ("/metrics", ("GET", "HEAD"), Endpoint(numbers)),
        ("/shutdown", ("POST",), Endpoint(shutdown)),
    ]

    def pages() -> Any:
        from cog.server.pages import make_pages

        return make_pages(routes, document=document, trainable=training_schema.present)

    return Application(service, webhooks=webhooks, routes=routes, pages=pages)


def _families(settings: Settings, parsed: Dict[str, Any], training_schema: InputSchema) -> Tuple[Family, Family]:
    """Predictions and trainings.  A server in training mode runs trainings, whatever they are called."""
    training = settings.mode == "train"
    schema = training_schema if training else InputSchema(parsed)
    operation: Any = parsed
    for key in ("paths", "/predictions", "post", "x-cog-streaming"):
        operation = operation.get(key) if isinstance(operation, dict) else None
    streams = not training and bool(operation)
    return (
        Family("prediction", schema, streams, NO_TRAINING_EVENTS if training else NO_EVENTS),
        Family("training", training_schema, False, NO_TRAINING_EVENTS, mode="train" if settings.train_ref else ""),
    )
