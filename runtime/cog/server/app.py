"""The routes, as a FastAPI application.  Requests in, the service asked, answers out; no state of its own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any, AsyncIterator, Callable, Dict, Iterator, Optional

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

import cog
from cog.server.files import encode_json, json_parts, measure, stream, take_files
from cog.server.prediction import Prediction
from cog.server.requests import PredictionRequest, RequestError, read_request
from cog.server.service import BusyError, NotReadyError, Service
from cog.server.validation import InputSchema

NOT_READY = "Setup has not finished yet. Wait until it has finished, or GET /health-check for status."
BUSY = "At capacity - all prediction slots busy"

LARGE = 1 << 16
"""Characters of file inputs from which on they are written to disk in a thread."""

DISCOVERY = {
    "cog_version": cog.__version__,
    "healthcheck_url": "/health-check",
    "openapi_url": "/openapi.json",
    "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
    "predictions_idempotent_url": "/predictions/{prediction_id}",
    "predictions_url": "/predictions",
    "shutdown_url": "/shutdown",
}


class JSON(Response):
    """A JSON body, compact."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return encode_json(content)


class FilesResponse(StreamingResponse):
    """A body that is read from files while it is sent; `release` is called when it was, or could not be."""

    def __init__(self, content: Iterator[bytes], *, release: Callable[[], None], **options: Any) -> None:
        super().__init__(content, **options)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


def make_app(
    service: Service, *, document: Optional[bytes], schema: InputSchema, shut_down: Callable[[], None]
) -> FastAPI:
    """The application.  `document` is the OpenAPI document as it lies in the image, `schema` what it says of inputs."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, problem: HTTPException) -> Response:
        return Response(status_code=problem.status_code, headers=problem.headers)

    @app.exception_handler(RequestError)
    async def malformed(_: Request, problem: RequestError) -> Response:
        return PlainTextResponse(problem.text, status_code=problem.status)

    @app.exception_handler(NotReadyError)
    async def not_ready(_: Request, __: NotReadyError) -> Response:
        return JSON({"error": NOT_READY, "status": "failed"}, status_code=503)

    @app.exception_handler(BusyError)
    async def busy(_: Request, __: BusyError) -> Response:
        return JSON({"error": BUSY, "status": "failed"}, status_code=409)

    @app.get("/")
    async def root() -> Response:
        return JSON(DISCOVERY)

    @app.get("/health-check")
    async def health() -> Response:
        return JSON(service.health())

    @app.get("/openapi.json")
    async def openapi() -> Response:
        if document is None:
            return JSON({"error": "OpenAPI schema not available"}, status_code=503)
        return Response(document, media_type="application/json")

    @app.post("/shutdown")
    async def shutdown() -> Response:
        shut_down()
        return JSON({})

    @app.post("/predictions")
    async def predict(request: Request) -> Response:
        return await answer(request, await read_request(request))

    @app.put("/predictions/{prediction_id}")
    async def predict_named(prediction_id: str, request: Request) -> Response:
        asked = await read_request(request)
        if asked.id is not None and asked.id != prediction_id:
            text = "prediction ID must match the ID supplied in the URL"
            return _unprocessable([{"loc": ["body", "id"], "msg": text, "type": "value_error"}])
        known = service.running(prediction_id)
        if known is not None:
            return _answer(service, known, status=202)
        return await answer(request, asked, identity=prediction_id)

    @app.post("/predictions/{prediction_id}/cancel")
    async def cancel(prediction_id: str) -> Response:
        prediction = service.running(prediction_id)
        if prediction is None:
            return JSON({}, status_code=404)
        service.cancel(prediction)
        return JSON({})

    async def answer(request: Request, asked: PredictionRequest, *, identity: Optional[str] = None) -> Response:
        given: Dict[str, Any] = schema.known(asked.input) if isinstance(asked.input, dict) else asked.input
        problems = schema.problems(given)
        if problems or not isinstance(given, dict):
            text = "input must be a JSON object"
            return _unprocessable(
                problems or [{"loc": ["body", "input", "__root__"], "msg": text, "type": "value_error"}]
            )
        service.check()
        folder = service.new_folder()
        try:
            files = await _files(given, schema, folder)
            prediction = service.predict(
                given,
                identity=identity or asked.id or f"pred_{secrets.token_hex(8)}",
                folder=folder,
                files=files,
                context=asked.context,
            )
        except BaseException:
            service.discard(folder)
            raise
        await _finished(prediction, request, give_up=service.cancel)
        return _answer(service, prediction)

    return app


async def _files(given: Dict[str, Any], schema: InputSchema, folder: str) -> Any:
    length = sum(len(url) for _, url in schema.files(given))
    if not length:
        return []
    if length < LARGE:
        return take_files(given, schema=schema, folder=folder)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: take_files(given, schema=schema, folder=folder))


async def _finished(prediction: Prediction, request: Request, *, give_up: Callable[[Prediction], None]) -> None:
    """Wait for the end of a prediction; a client that hangs up meanwhile cancels it."""
    finished = asyncio.ensure_future(prediction.finished.wait())
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([finished, gone], return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            give_up(prediction)
            await finished
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    # Of a request without a content type the body is still to come.
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(service: Service, prediction: Prediction, *, status: int = 200) -> Response:
    parts = json_parts(prediction.snapshot())
    service.hold(prediction)
    if len(parts) == 1:
        service.release(prediction)
        return Response(parts[0], status_code=status, media_type="application/json")
    try:
        length = measure(parts)
    except OSError:
        service.release(prediction)
        raise
    return FilesResponse(
        stream(parts),
        status_code=status,
        headers={"content-length": str(length)},
        media_type="application/json",
        release=lambda: service.release(prediction),
    )


def _unprocessable(detail: Any) -> Response:
    return JSON({"detail": detail}, status_code=422)
