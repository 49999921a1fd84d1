"""Requests made from our own OpenAPI document, right and wrong ones, against a live server: never an error of ours."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from runtime_image import Server, children, serving

from builder import schema
from tests.ports import reserved_port

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

SOURCE = """
    from typing import Any, Dict, Iterator, List, Optional
    from cog import BaseRunner, Input, Secret, streaming
    class Runner(BaseRunner):
        @streaming
        def run(
            self,
            text: str = Input(default="x", min_length=1, max_length=20),
            count: int = Input(default=1, ge=0, le=10),
            ratio: float = 0.5,
            flag: bool = False,
            colour: str = Input(default="red", choices=["red", "green"]),
            tags: List[str] = Input(default=[]),
            numbers: List[int] = Input(default=[]),
            maybe: Optional[int] = None,
            options: Dict[str, Any] = Input(default={}),
            secret: Secret = Input(default=None),
            code: str = Input(default="a", regex="^a"),
        ) -> Iterator[str]:
            print(text, options)
            for i in range(count):
                yield f"{text} {tags} {numbers} {maybe} {secret}"
"""
TRAIN = """
    from cog import BaseModel, Input
    class TrainingOutput(BaseModel):
        weights: str
    def train(steps: int = Input(default=1, ge=1, le=5), name: str = "n") -> TrainingOutput:
        return TrainingOutput(weights=name * steps)
"""
EXAMPLES = 12
"""Requests of each operation and kind; the same ones in each run."""


def project(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    (folder / "run.py").write_text(textwrap.dedent(SOURCE))
    (folder / "train.py").write_text(textwrap.dedent(TRAIN))
    return schema.document(folder, run="run.py:Runner", train="train.py:train", version="1")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return project(tmp_path_factory.mktemp("project") / "src")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("properties")
    stub = {"COG_TRAIN_TYPE_STUB": "train.py:train"}
    with serving(folder, SOURCE, schema=document, files={"train.py": TRAIN}, **stub) as server:
        yield server
        worker = server.worker_pid()
        assert worker in children(server.process.pid)
        assert server.end() == 0
        assert "Exception in ASGI" not in server.output()


def with_identities(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with the routes that it does not describe: the same for a prediction with a name, and its state."""
    paths = dict(document["paths"])
    for noun in ("prediction", "training"):
        named = {"name": f"{noun}_id", "in": "path", "required": True, "schema": {"type": "string"}}
        post = paths[f"/{noun}s"]["post"]
        put = {**post, "operationId": f"put_{noun}", "parameters": [*post.get("parameters", []), named]}
        get = {"operationId": f"get_{noun}", "parameters": [named], "responses": put["responses"]}
        paths[f"/{noun}s/{{{noun}_id}}"] = {"put": put, "get": get}
    return {**document, "paths": paths}


WITH_BODY = [
    (method, path)
    for noun in ("prediction", "training")
    for method, path in (("POST", f"/{noun}s"), ("PUT", f"/{noun}s/{{{noun}_id}}"))
]
WITHOUT = [
    *((method, f"/{noun}s/{{{noun}_id}}{word}") for noun in ("prediction", "training")
      for method, word in (("GET", ""), ("POST", "/cancel"))),
    ("GET", "/"), ("GET", "/health-check"),
]  # fmt: skip


def test_these_are_all_operations(document: dict[str, Any]) -> None:
    found = {(method.upper(), path) for path, item in with_identities(document)["paths"].items() for method in item}
    assert found == {*WITH_BODY, *WITHOUT}


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *((method, path, "positive") for method, path in (*WITH_BODY, *WITHOUT)),
        *((method, path, "negative") for method, path in WITH_BODY),
    ],
)
def test_no_request_makes_an_error_of_ours(
    method: str, path: str, mode: str, server: Server, document: dict[str, Any]
) -> None:
    loaded = schemathesis.openapi.from_dict(with_identities(document))
    loaded.config.generation.update(modes=[schemathesis.GenerationMode(mode)])
    operation = loaded[path][method]
    statuses = set()

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def ask(case: Any) -> None:
        _on_loopback(case.body, port=closed)
        answer = case.call(base_url=server.url, timeout=20)
        assert answer.status_code in (200, 202, 400, 404, 405, 406, 409, 413, 415, 422), answer.content
        if answer.headers.get("content-type", [""])[0] == "application/json":
            json.loads(answer.content)
        statuses.add(answer.status_code)

    with reserved_port() as closed:
        ask()
    assert statuses
    assert server.health()["status"] == "READY"


def _on_loopback(body: Any, *, port: int) -> None:
    """Whatever is made up as a webhook goes to a port where nobody listens."""
    if isinstance(body, dict) and isinstance(body.get("webhook"), str):
        body["webhook"] = f"http://127.0.0.1:{port}/{len(body['webhook'])}"
        body["webhook_events_filter"] = ["start"]
