"""A model that goes as far as a test lets it, and how to ask it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from runtime_image import PATIENCE, Server, document, serving

# `gate` names a file that the model waits for, so that a test decides how far a prediction goes.
MODEL = """
    import asyncio, pathlib
    import cog
    class Runner:
        async def setup(self):
            self.healthy = True
        async def healthcheck(self) -> bool:
            if pathlib.Path("raise").exists():
                raise RuntimeError("db gone")
            return not pathlib.Path("sick").exists()
        @cog.streaming
        @cog.concurrent(max=4)
        async def run(self, items: int = 2, gate: str = "", fail: bool = False, token: cog.Secret = None
                      ) -> cog.AsyncConcatenateIterator[str]:
            try:
                for i in range(items):
                    print("step", i)
                    cog.current_scope().record_metric("i", i)
                    yield f"t{i}"
                    while gate and not pathlib.Path(f"{gate}-{i}").exists():
                        await asyncio.sleep(0.01)
                if fail:
                    raise ValueError("late")
            except asyncio.CancelledError:
                print("canceled")
                raise
"""

INPUT = {
    "items": {"type": "integer", "default": 2},
    "gate": {"type": "string", "default": ""},
    "fail": {"type": "boolean", "default": False},
    "token": {"type": "string", "format": "password", "x-cog-secret": True, "nullable": True, "default": None},
}


def schema(**operation: Any) -> dict[str, Any]:
    made = document(INPUT)
    made["paths"] = {"/predictions": {"post": operation}}
    return made


def put(server: Server, name: str, given: dict[str, Any], **headers: str) -> requests.Response:
    body = given if "input" in given else {"input": given}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return requests.put(f"{server.url}/predictions/{name}", json=body, headers=named, timeout=PATIENCE)


def ended(server: Server, name: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while (state := server.get(f"/predictions/{name}").json())["status"] in ("starting", "processing"):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    return state


def until(server: Server, name: str, **fields: Any) -> None:
    """Wait until a prediction that runs has these fields: its model has come as far as its gate."""
    deadline = time.monotonic() + PATIENCE
    while True:
        state = server.get(f"/predictions/{name}").json()
        if all(state.get(key) == value for key, value in fields.items()):
            return
        assert state["status"] == "processing" and time.monotonic() < deadline, state
        time.sleep(0.01)


@contextlib.contextmanager
def gated(folder: Path) -> Iterator[tuple[Server, Path]]:
    """The model served, and the folder where its gates are opened."""
    with serving(
        folder,
        MODEL,
        schema=schema(**{"x-cog-streaming": True}),
        COG_THROTTLE_RESPONSE_INTERVAL="0.2",
        WEBHOOK_AUTH_TOKEN="secret",
    ) as server:
        yield server, folder / "src"
