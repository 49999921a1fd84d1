"""The routes, as a FastAPI application.  Requests in, the service asked, answers out; no state of its own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any, AsyncIterator, Callable, Dict, Optional

from fastapi import FastAPI
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

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
        return await answer(await read_request(request))

    @app.put("/predictions/{prediction_id}")
    async def predict_named(prediction_id: str, request: Request) -> Response:
        asked = await read_request(request)
        if asked.id is not None and asked.id != prediction_id:
            text = "prediction ID must match the ID supplied in the URL"
            return _unprocessable([{"loc": ["body", "id"], "msg": text, "type": "value_error"}])
        return await answer(asked, identity=prediction_id)

    async def answer(asked: PredictionRequest, *, identity: Optional[str] = None) -> Response:
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
            await prediction.finished.wait()
        except BaseException:
            service.discard(folder)
            raise
        return _answer(prediction, discard=service.discard)

    return app


async def _files(given: Dict[str, Any], schema: InputSchema, folder: str) -> Any:
    length = sum(len(url) for _, url in schema.files(given))
    if not length:
        return []
    if length < LARGE:
        return take_files(given, schema=schema, folder=folder)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: take_files(given, schema=schema, folder=folder))


def _answer(prediction: Prediction, *, discard: Callable[[str], None]) -> Response:
    parts = json_parts(prediction.snapshot())
    if len(parts) == 1:
        discard(prediction.folder)
        return Response(parts[0], media_type="application/json")
    length, _ = measure(parts)
    headers = {"content-length": str(length)}
    done = BackgroundTask(discard, prediction.folder)
    return StreamingResponse(stream(parts), headers=headers, media_type="application/json", background=done)


def _unprocessable(detail: Any) -> Response:
    return JSON({"detail": detail}, status_code=422)
