"""Talk to the prediction server of an image on this machine (spec of the server: docs, `GET /health-check`, `POST
/predictions`).  Uses `http.client` from the standard library, which is imported late: commands must start quickly.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, PredictionError
from builder.frozen import frozen

if TYPE_CHECKING:
    from http.client import HTTPResponse

POLL = 0.1
"""Seconds between health checks."""
HEALTH_TIMEOUT = 0.25
"""Seconds to wait for the answer to one."""


@frozen
class Prediction:
    """The server's answer; `raw` is all of it."""

    status: str
    output: Any
    error: str
    logs: str
    raw: Mapping[str, Any]

    def require(self) -> Prediction:
        """Itself if it succeeded, else a `PredictionError`."""
        if self.status != "succeeded":
            raise PredictionError(f'Prediction failed with status "{self.status}": {self.error or "no reason given"}')
        return self


def health(port: int) -> dict[str, Any] | None:
    """What `GET /health-check` says; None while nobody answers."""
    try:
        code, body = _request(port, "GET", "/health-check", timeout=HEALTH_TIMEOUT)
        answer = json.loads(body)
    except (OSError, ValueError):
        return None
    return answer if code == 200 and isinstance(answer, dict) else None


def wait_ready(port: int, *, ended: Callable[[], int | None], timeout: float) -> None:
    """Poll until the model is set up.

    `ended` tells the exit code of the server once it has ended.  Raises `PredictionError` when it ends, when the
    model's setup fails, and after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        code = ended()
        if code is not None:
            hint = "the lines above are what it said last"
            raise PredictionError("Container exited unexpectedly", details=f"exit code {code}", hint=hint)
        answer = health(port)
        status = answer.get("status") if answer else "STARTING"
        if status == "READY":
            return
        if status == "SETUP_FAILED":
            setup = (answer or {}).get("setup")
            logs = setup.get("logs") if isinstance(setup, dict) else None
            hint = "correct what `setup` of the model does"
            raise PredictionError("Model setup failed", details=str(logs).strip() if logs else None, hint=hint)
        if status not in ("STARTING", "UNKNOWN"):
            hint = "the lines above are what the server said last"
            raise PredictionError(f"Container healthcheck returned unexpected status: {status}", hint=hint)
        if time.monotonic() > deadline:
            hint = "give it more time with `--setup-timeout SECONDS`"
            raise PredictionError(f"Timed out: the model was not ready after {timeout:g} seconds", hint=hint)
        time.sleep(POLL)


def openapi(port: int) -> dict[str, Any] | None:
    """The server's schema; None if it has none."""
    try:
        code, body = _request(port, "GET", "/openapi.json", timeout=30)
    except OSError as problem:
        hint = "the lines above are what the server said last"
        raise PredictionError("could not ask the server for its schema", details=str(problem), hint=hint) from problem
    found = json.loads(body) if code == 200 else None
    return found if isinstance(found, dict) else None


def predict(
    port: int,
    *,
    inputs: Mapping[str, Any],
    context: Mapping[str, str] | None = None,
    path: str = "/predictions",
    folder: Path | None = None,
) -> Prediction:
    """Run one prediction (or, by its `path`, a training) and wait for it, however long it takes.

    With `folder`, long `data:` URLs of the answer are in files there (`engine.large.Large`).

    Raises `InputError` when the server refuses the inputs, `PredictionError` when it answers nonsense or goes away.  A
    prediction that failed is an answer like any other; see `Prediction.require`.
    """
    body = json.dumps({"input": dict(inputs), "context": dict(context or {})}).encode()
    try:
        code, data, answer = _asked(port, path, body=body, folder=folder)
    except OSError as problem:
        hint = "the lines above are what it said last"
        raise PredictionError(
            "the server went away during the prediction", details=str(problem), hint=hint
        ) from problem
    if code == 422 and isinstance(answer, dict):
        raise InputError(
            "The inputs you passed could not be validated:",
            details="\n".join(f"- {line}" for line in _refusals(answer)),
            hint="pass inputs with `-i blur=3.5`, and files with an `@`: `-i path=@image.jpg`",
        )
    if code != 200 or not isinstance(answer, dict):
        text = data.decode(errors="replace").strip()[:2000]
        hint = "the lines above are what the server said last"
        raise PredictionError(f"{path} call returned status {code}", details=text or None, hint=hint)
    return Prediction(
        status=str(answer.get("status")),
        output=answer.get("output"),
        error=str(answer.get("error") or ""),
        logs=str(answer.get("logs") or ""),
        raw=answer,
    )


def _asked(port: int, path: str, *, body: bytes, folder: Path | None) -> tuple[int, bytes, Any]:
    """Status, the first of the body, and the body as JSON if it is that."""
    with _answer(port, "POST", path, body=body, timeout=None) as response:
        first = b""
        if folder is None or response.status != 200:
            first = response.read()
            try:
                return response.status, first, json.loads(first)
            except ValueError:
                return response.status, first, None
        from builder.engine.large import read_json

        def read(count: int) -> bytes:
            nonlocal first
            data: bytes = response.read(count)
            first = first or data[:2000]
            return data

        try:
            return response.status, first, read_json(read, folder=folder)
        except ValueError:
            return response.status, first, None


def _refusals(answer: Mapping[str, Any]) -> list[str]:
    detail = answer.get("detail")
    if not isinstance(detail, list):
        return [str(detail)]
    rows = [row for row in detail if isinstance(row, dict)]
    return [f"{(row.get('loc') or ['?'])[-1]}: {row.get('msg')}" for row in rows]


def _request(
    port: int, method: str, path: str, *, body: bytes | None = None, timeout: float | None
) -> tuple[int, bytes]:
    with _answer(port, method, path, body=body, timeout=timeout) as response:
        return response.status, response.read()


@contextlib.contextmanager
def _answer(
    port: int, method: str, path: str, *, body: bytes | None = None, timeout: float | None
) -> Iterator[HTTPResponse]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": "application/json"} if body else {})
        yield connection.getresponse()
    except http.client.HTTPException as problem:
        raise ConnectionError(f"{type(problem).__name__}: {problem}") from problem
    finally:
        connection.close()
