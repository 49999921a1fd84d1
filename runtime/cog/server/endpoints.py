"""What clients ask of predictions and of trainings, as ASGI: make, look at, follow, cancel.

Plain ASGI, because this is the path where milliseconds count; `app.py` puts it into the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import urllib.parse
from typing import Any, Awaitable, Callable, Dict, List, Optional

from cog.server.answers import (
    EVENT_STREAM,
    body_of,
    problem,
    send_json,
    send_parts,
    send_pieces,
    send_text,
    state_of,
)
from cog.server.files import json_parts, take_files
from cog.server.prediction import Prediction
from cog.server.requests import Disconnected, Headers, PredictionRequest, RequestError, read_headers, read_request
from cog.server.service import BusyError, NotReadyError, Service
from cog.server.stream import Stream, Subscriber
from cog.server.validation import InputSchema
from cog.server.webhooks import Webhooks

NOT_READY = "Setup has not finished yet. Wait until it has finished, or GET /health-check for status."
BUSY = "At capacity - all prediction slots busy"
NO_EVENTS = "This model does not support streaming responses. Add @cog.streaming to predict() to enable SSE."
NO_TRAINING_EVENTS = "Training endpoints do not support streaming responses."

LARGE = 1 << 16
"""Characters of file inputs from which on they are written to disk in a thread."""

ID_SHOWN = 1000
"""Longest id, in characters, that is put into a header."""

PATIENCE = 0.05
"""Seconds that a prediction runs before it is watched whether its client is still there."""

Serve = Callable[[Any, Any, Any], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Family:
    """`predictions` or `trainings`: the same in all but name, schema and whether they can be followed."""

    noun: str
    schema: InputSchema
    streams: bool
    refusal: str
    """What a client is told that wants events where there are none."""
    mode: str = ""
    """What the worker is told, unless it is what it does anyway: `train`."""

    @property
    def path(self) -> str:
        """Where they are."""
        return f"/{self.noun}s"


class Endpoint:
    """An ASGI application of a function, with the answers to everything that can be wrong with a request."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        try:
            await self._serve(scope, receive, send)
        except RequestError as refused:
            if isinstance(refused.body, str):
                await send_text(send, refused.body, status=refused.status)
            else:
                await send_json(send, refused.body, status=refused.status)
        except NotReadyError:
            await send_json(send, {"error": NOT_READY, "status": "failed"}, status=503)
        except BusyError:
            await send_json(send, {"error": BUSY, "status": "failed"}, status=409)
        except RecursionError:
            await send_text(send, "The request body is nested too deeply", status=400)
        except Disconnected:
            pass


class Endpoints:
    """The endpoints of one family.  `history`: how many events a client that comes late still gets."""

    def __init__(self, service: Service, webhooks: Webhooks, *, family: Family, history: int) -> None:
        self._service = service
        self._webhooks = webhooks
        self._family = family
        self._history = history

    async def collection(self, scope: Any, receive: Any, send: Any) -> None:
        """POST: a new prediction."""
        headers = read_headers(scope["headers"])
        asked = await read_request(headers, receive)
        identity = asked.id or f"pred_{secrets.token_hex(8)}"
        if asked.id and self._service.running(identity) is not None:
            text = f"A {self._family.noun} with this ID is already running"
            raise RequestError(409, {"error": text, "status": "failed"})
        await self._create(identity, asked, headers, receive, send)

    async def item(self, scope: Any, receive: Any, send: Any) -> None:
        """PUT: a prediction with this id, unless it runs already; GET: its state."""
        identity = scope["path_params"]["identity"]
        headers = read_headers(scope["headers"])
        if scope["method"] != "PUT":
            await self._show(identity, headers, receive, send)
            return
        asked = await read_request(headers, receive)
        if asked.id is not None and asked.id != identity:
            text = f"{self._family.noun} ID must match the ID supplied in the URL"
            raise RequestError(422, {"detail": [problem(["body", "id"], text)]})
        running = self._service.running(identity)
        if running is None:
            await self._create(identity, asked, headers, receive, send)
        elif headers.events:
            await self._follow(running, self._stream_of(running).subscribe(), receive, send, mine=False)
        else:
            await self._state(running, send, status=202)

    async def cancel(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002
        """POST: end it."""
        prediction = self._service.running(scope["path_params"]["identity"])
        if prediction is None:
            await send_json(send, {}, status=404)
            return
        self._service.cancel(prediction)
        await send_json(send, {})

    async def _create(self, identity: str, asked: PredictionRequest, headers: Headers, receive: Any, send: Any) -> None:
        service, schema = self._service, self._family.schema
        if headers.events and not self._family.streams:
            raise RequestError(406, {"error": self._family.refusal})
        given = _checked(asked.input, schema)
        asked.input = None  # its files go to disk: they need not stay in memory until the prediction has ended
        service.check()
        prediction = service.create(identity, given=lambda: schema.shown(given), version=asked.version)
        service.hold(prediction)
        try:
            subscriber = self._watched(prediction, asked, headers)
            early = json_parts(prediction.snapshot()) if headers.detached and headers.wait is None else None
            await self._begin(prediction, given, asked, headers)
            if headers.events and subscriber is not None:
                await self._follow(prediction, subscriber, receive, send, mine=True)
            elif headers.detached:
                await self._detached(prediction, early, headers, send)
            else:
                await self._finished(prediction, receive)
                await send_parts(send, body_of(prediction))
        finally:
            service.release(prediction)

    async def _begin(
        self, prediction: Prediction, given: Dict[str, Any], asked: PredictionRequest, headers: Headers
    ) -> None:
        """Take the files out of the input and hand it to the worker; nothing is left if that fails."""
        service, family = self._service, self._family
        service.reserve(prediction)
        try:
            files = await _files(given, family.schema, prediction.folder)
            context = {**headers.trace, **asked.context}
            service.run(prediction, given, files=files, context=context, mode=family.mode)
        except BaseException as failed:
            service.abandon(prediction)
            if isinstance(failed, ValueError):
                raise RequestError(400, f"Failed to parse the request body as JSON: {failed}") from None
            if isinstance(failed, OSError):
                text = f"The input cannot be stored: {failed.strerror}"
                raise RequestError(503, {"error": text, "status": "failed"}) from None
            raise

    def _watched(self, prediction: Prediction, asked: PredictionRequest, headers: Headers) -> Optional[Subscriber]:
        """Everything that wants to be told of it is, from the start."""
        service = self._service
        subscriber = None
        if self._family.streams:
            prediction.stream = Stream(history=self._history, completed=lambda: body_of(prediction))
            prediction.watchers.append(prediction.stream.publish)
            if headers.events:
                subscriber = prediction.stream.subscribe()
        events = asked.webhook_events_filter
        told = False
        if asked.webhook and self._webhooks.attach(
            prediction, url=asked.webhook, events=events, trace=headers.trace, release=service.release
        ):
            service.hold(prediction)
            told = events is None or "completed" in events
        if headers.detached and not headers.events and not told:
            prediction.kept = True
            service.hold(prediction)
        return subscriber

    async def _detached(self, prediction: Prediction, early: Optional[List[Any]], headers: Headers, send: Any) -> None:
        applied = "respond-async"
        if headers.wait is not None:
            applied += f", wait={headers.wait:g}"
            await _in_time(prediction, headers.wait)
        more = [(b"preference-applied", applied.encode())]
        if headers.wait and prediction.finished.is_set():
            await send_parts(send, body_of(prediction), headers=more)
            return
        if len(prediction.id) <= ID_SHOWN:
            place = f"{self._family.path}/{urllib.parse.quote(prediction.id, safe='', errors='replace')}"
            more.append((b"location", place.encode()))
        await send_parts(send, early or state_of(prediction), status=202, headers=more)

    async def _show(self, identity: str, headers: Headers, receive: Any, send: Any) -> None:
        prediction = self._service.find(identity)
        if prediction is None:
            raise RequestError(404, {"error": f"{self._family.noun.capitalize()} not found"})
        if headers.events:
            await self._follow(prediction, self._stream_of(prediction).subscribe(), receive, send, mine=False)
        else:
            await self._state(prediction, send, status=200)

    async def _state(self, prediction: Prediction, send: Any, *, status: int) -> None:
        service = self._service
        there = not prediction.finished.is_set() or prediction.holders > 0
        service.hold(prediction)
        try:
            await send_parts(send, state_of(prediction, files=there), status=status)
        finally:
            service.release(prediction)

    def _stream_of(self, prediction: Prediction) -> Stream:
        stream: Optional[Stream] = prediction.stream
        if stream is None or not self._family.streams:
            raise RequestError(406, {"error": self._family.refusal})
        if prediction.has_files and prediction.finished.is_set() and not prediction.holders:
            raise RequestError(410, {"error": "The files of this prediction have been delivered and removed"})
        if stream.full:
            raise RequestError(429, {"error": "Too many stream subscribers"})
        return stream

    async def _follow(
        self, prediction: Prediction, subscriber: Subscriber, receive: Any, send: Any, *, mine: bool
    ) -> None:
        """Send events until there are no more.  `mine`: made by this request, and canceled with its last follower."""
        service = self._service
        stream: Stream = prediction.stream
        service.hold(prediction)
        prediction.followed = prediction.followed or mine
        gone = asyncio.ensure_future(_gone(receive))
        gone.add_done_callback(lambda _: subscriber.close())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
            while True:
                parts = await subscriber.next()
                if parts is None:
                    break
                await send_pieces(send, parts)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            stream.unsubscribe(subscriber)
            if prediction.followed and not stream.subscribers:
                service.cancel(prediction)
            service.release(prediction)

    async def _finished(self, prediction: Prediction, receive: Any) -> None:
        """Wait for the end of a prediction; a client that hangs up meanwhile cancels it."""
        loop = asyncio.get_running_loop()
        watching: List["asyncio.Task[None]"] = []

        async def watch() -> None:
            await _gone(receive)
            self._service.cancel(prediction)

        timer = loop.call_later(PATIENCE, lambda: watching.append(loop.create_task(watch())))
        try:
            await prediction.finished.wait()
        except asyncio.CancelledError:
            self._service.cancel(prediction)
            raise
        finally:
            timer.cancel()
            for task in watching:
                task.cancel()


def _checked(given: Any, schema: InputSchema) -> Dict[str, Any]:
    """The input without what the schema does not know; RequestError 422 says all that is wrong with it."""
    if isinstance(given, dict):
        given = schema.known(given)
    problems = schema.problems(given)
    if not problems and not isinstance(given, dict):
        problems = [problem(["body", "input", "__root__"], "input must be a JSON object")]
    if problems:
        raise RequestError(422, {"detail": problems})
    checked: Dict[str, Any] = given
    return checked


async def _files(given: Dict[str, Any], schema: InputSchema, folder: str) -> List[Dict[str, Any]]:
    length = sum(len(url) for _, url in schema.files(given))
    if not length:
        return []
    if length < LARGE:
        return take_files(given, schema=schema, folder=folder)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: take_files(given, schema=schema, folder=folder))


async def _in_time(prediction: Prediction, seconds: float) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(prediction.finished.wait(), seconds)


async def _gone(receive: Any) -> None:
    # Of a request without a content type the body is still to come.
    while (await receive())["type"] != "http.disconnect":
        pass
