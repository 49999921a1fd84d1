"""The body of a prediction request: read, bounded, checked.  Starlette's request is all it needs of HTTP."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Dict, List, Optional

from starlette.requests import Request

from cog.server.settings import BODY_MAX

EVENTS = ("start", "output", "logs", "completed")

_JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json\Z", re.IGNORECASE)


class RequestError(Exception):
    """A request that cannot be served: the status and the text of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclasses.dataclass(frozen=True)
class PredictionRequest:
    """What a client asks for; keys that we do not know are dropped."""

    id: Optional[str] = None
    input: Any = dataclasses.field(default_factory=dict)
    context: Dict[str, str] = dataclasses.field(default_factory=dict)
    webhook: Optional[str] = None
    webhook_events_filter: Optional[List[str]] = None


async def read_request(request: Request) -> PredictionRequest:
    """The request of a prediction; RequestError with status 400, 413, 415 or 422 (spec section 4.3)."""
    content_type = request.headers.get("content-type")
    if content_type is None:
        return PredictionRequest()
    if not _JSON_TYPE.match(content_type.partition(";")[0].strip()):
        raise RequestError(415, "Expected request with `Content-Type: application/json`")
    body = await _read(request)
    try:
        fields = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as problem:
        raise RequestError(400, f"Failed to parse the request body as JSON: {problem}") from None
    return _checked(fields)


async def _read(request: Request) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > BODY_MAX:
        raise RequestError(413, f"The request body is longer than {BODY_MAX} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            raise RequestError(413, f"The request body is longer than {BODY_MAX} bytes")
    return bytes(body)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _checked(fields: Any) -> PredictionRequest:
    if not isinstance(fields, dict):
        raise RequestError(422, "The request body must be a JSON object")
    known = {field.name: fields[field.name] for field in dataclasses.fields(PredictionRequest) if field.name in fields}
    known = {name: value for name, value in known.items() if value is not None}
    for name in ("id", "webhook"):
        if not isinstance(known.get(name, ""), str):
            raise RequestError(422, f"{name}: must be a string")
    context = known.get("context", {})
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        raise RequestError(422, "context: must be an object of strings")
    events = known.get("webhook_events_filter", [])
    if not isinstance(events, list) or not all(event in EVENTS for event in events):
        raise RequestError(422, f"webhook_events_filter: must be a list of {', '.join(EVENTS)}")
    return PredictionRequest(**known)
