"""Answers on their way out, as ASGI: JSON, predictions with files read while they are sent, streams of events."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Dict, List, Optional, Sequence, Tuple

from cog.server.files import Part, encode_json, json_parts, measure, stream
from cog.server.prediction import Prediction

JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; charset=utf-8")

EVENT_STREAM = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would wait for more
)

Headers = Sequence[Tuple[bytes, bytes]]


def body_of(prediction: Prediction) -> List[Part]:
    """The answer of a prediction that has ended; made once, and the prediction gives up what it was made of."""
    body: Optional[List[Part]] = prediction.body
    if body is None:
        try:
            view = prediction.snapshot()
            if prediction.has_files:
                body = json_parts(view)
                measure(body)
            else:
                body = [encode_json(view)]
        except OSError as problem:
            body = _failed(prediction, f"an output file is gone: {problem.strerror}")
        except (RecursionError, ValueError, TypeError):
            body = _failed(prediction, "the output cannot be sent as JSON")
        prediction.body = body
        if len(body) == 1:
            prediction.thin()
    return body


def _failed(prediction: Prediction, why: str) -> List[Part]:
    prediction.has_output, prediction.output, prediction.metrics = False, None, {}
    prediction.status, prediction.error = "failed", f"Prediction failed: {why}"
    return [encode_json(prediction.snapshot())]


def state_of(prediction: Prediction, *, files: bool = True) -> List[Part]:
    """What is known of a prediction now, with its input while it runs; without `files` they are null."""
    if prediction.finished.is_set():
        parts = body_of(prediction)
        if files or len(parts) == 1:
            return parts
        return [json.dumps(prediction.snapshot(), default=lambda _: None, separators=(",", ":")).encode()]
    view = prediction.snapshot()
    if prediction.input is not None:
        view["input"] = prediction.input()
    return json_parts(view)


def size_of(prediction: Prediction) -> Tuple[int, int]:
    """Bytes that an ended prediction takes in memory, about, and those of its files."""
    parts = body_of(prediction)
    text = sum(len(part) for part in parts if isinstance(part, bytes))
    if prediction.stream is not None:
        text += prediction.stream.size
    if len(parts) == 1:
        return text, 0
    try:
        return 2 * text, measure(parts)
    except OSError:
        return 2 * text, 0


async def send_body(send: Any, status: int, body: bytes, headers: Headers) -> None:
    """One answer in one piece."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Any, content: Any, *, status: int = 200, headers: Headers = ()) -> None:
    """A JSON answer."""
    await send_body(send, status, encode_json(content), (JSON, *headers))


async def send_text(send: Any, text: str, *, status: int) -> None:
    """A plain one."""
    await send_body(send, status, text.encode("utf-8", "replace"), (TEXT,))


async def send_parts(send: Any, parts: List[Part], *, status: int = 200, headers: Headers = ()) -> None:
    """A JSON answer that may hold files.  OSError, before anything is sent, if one of them is missing."""
    if len(parts) == 1 and isinstance(parts[0], bytes):
        await send_body(send, status, parts[0], (JSON, *headers))
        return
    length = (b"content-length", b"%d" % measure(parts))
    await send({"type": "http.response.start", "status": status, "headers": [JSON, *headers, length]})
    await send_pieces(send, parts)
    await send({"type": "http.response.body", "body": b""})


async def send_pieces(send: Any, parts: List[Part]) -> None:
    """Part of a body; others get their turn between two pieces of a file."""
    if len(parts) == 1 and isinstance(parts[0], bytes):
        await send({"type": "http.response.body", "body": parts[0], "more_body": True})
        return
    for piece in stream(parts):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)


def problem(loc: List[str], text: str, kind: str = "value_error") -> Dict[str, Any]:
    """One entry of a 422 answer."""
    return {"loc": loc, "msg": text, "type": kind}
