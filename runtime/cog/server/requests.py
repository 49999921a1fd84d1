"""A prediction request: headers and body read, bounded, checked.  Knows ASGI, and nothing of the service."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Dict, List, Optional, Tuple

from cog.server.preferences import preferences, wait_of, wants_events
from cog.server.settings import BODY_MAX

EVENTS = ("start", "output", "logs", "completed")

TRACE = {b"traceparent": "traceparent", b"tracestate": "tracestate"}

_JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json\Z", re.IGNORECASE)


class RequestError(Exception):
    """A request that is not served: the status of the answer, and its body as text (str) or JSON (anything else)."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class Disconnected(Exception):  # noqa: N818  # nobody's error
    """The client went away before its request was read."""


@dataclasses.dataclass
class Headers:
    """The headers that matter: what the body is and how the client wants its answer.

    `detached`: at once (or after `wait` seconds), with the prediction going on; `events`: as server-sent events.
    """

    content_type: Optional[str] = None
    length: int = 0
    detached: bool = False
    wait: Optional[float] = None
    events: bool = False
    trace: Dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class PredictionRequest:
    """What a client asks for; keys that we do not know are dropped."""

    id: Optional[str] = None
    input: Any = dataclasses.field(default_factory=dict)
    context: Dict[str, str] = dataclasses.field(default_factory=dict)
    webhook: Optional[str] = None
    webhook_events_filter: Optional[List[str]] = None
    version: Optional[str] = None


_FIELDS = tuple(field.name for field in dataclasses.fields(PredictionRequest))


def read_headers(raw: List[Tuple[bytes, bytes]]) -> Headers:
    """The headers of a request; names are in lower case, as ASGI has them."""
    given = dict(raw)
    headers = Headers()
    kind = given.get(b"content-type")
    if kind is not None:
        headers.content_type = kind.decode("latin-1")
    length = given.get(b"content-length", b"")
    if length.isdigit() and len(length) < 20:
        headers.length = int(length)
    if b"prefer" in given:
        found = preferences(_joined(raw, b"prefer"))
        headers.detached = "respond-async" in found
        headers.wait = wait_of(found)
    accept = given.get(b"accept", b"*/*")
    if accept != b"*/*":
        headers.events = wants_events(_joined(raw, b"accept"))
    for name in TRACE:
        if name in given:
            headers.trace[TRACE[name]] = given[name].decode("latin-1")
    return headers


def _joined(raw: List[Tuple[bytes, bytes]], wanted: bytes) -> str:
    """A header that may be given several times, as one (RFC 9110, section 5.3)."""
    return ", ".join(value.decode("latin-1") for name, value in raw if name == wanted)


async def read_request(headers: Headers, receive: Any) -> PredictionRequest:
    """The request of a prediction.  RequestError with status 400, 413, 415 or 422.

    Without a content type the body is not looked at.
    """
    if headers.content_type is None:
        return PredictionRequest()
    if headers.content_type != "application/json" and not _JSON_TYPE.match(
        headers.content_type.partition(";")[0].strip()
    ):
        raise RequestError(415, "Expected request with `Content-Type: application/json`")
    body = await _read(headers.length, receive)
    try:
        fields = _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as problem:
        raise RequestError(400, f"Failed to parse the request body as JSON: {problem}") from None
    return _checked(fields)


async def _read(length: int, receive: Any) -> bytes:
    too_long = RequestError(413, f"The request body is longer than {BODY_MAX} bytes")
    if length > BODY_MAX:
        raise too_long
    chunks: List[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > BODY_MAX:
            raise too_long
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (_INFINITY, -_INFINITY):
        raise ValueError(f"number out of range: {text[:40]}")
    return number


_INFINITY = float("inf")

_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _checked(fields: Any) -> PredictionRequest:
    if not isinstance(fields, dict):
        raise RequestError(422, "The request body must be a JSON object")
    if len(fields) == 1 and fields.get("input") is not None:
        return PredictionRequest(input=fields["input"])
    known = {name: fields[name] for name in _FIELDS if fields.get(name) is not None}
    for name in ("id", "webhook"):
        if not isinstance(known.get(name, ""), str):
            raise RequestError(422, f"{name}: must be a string")
    if not isinstance(known.get("version", ""), str):
        del known["version"]  # an older client's, of no meaning here
    context = known.get("context", {})
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        raise RequestError(422, "context: must be an object of strings")
    events = known.get("webhook_events_filter", [])
    if not isinstance(events, list) or not all(isinstance(event, str) and event in EVENTS for event in events):
        raise RequestError(422, f"webhook_events_filter: must be a list of {', '.join(EVENTS)}")
    return PredictionRequest(**known)
