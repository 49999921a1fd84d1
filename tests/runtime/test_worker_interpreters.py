"""The SDK and the worker under every Python that they are for; one that the machine lacks is skipped aloud."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cog.worker.protocol import Cancel, Check, Checked, Done
from interpreters import SUPPORTED, interpreters
from runtime_image import PATIENCE
from worker_life import Life, living

MODEL = """
    from __future__ import annotations
    import asyncio, dataclasses, enum, io, sys, time
    from typing import Optional, List
    from cog import (
        BaseModel, BaseRunner, BasePredictor, ConcatenateIterator, AsyncConcatenateIterator, File, Input, Opaque, Path,
        Secret, concurrent, current_scope, streaming,
    )
    import cog
    class Kind(enum.Enum):
        A = "a"
    class Answer(BaseModel):
        kind: Kind
        file: Path
        sizes: List[int]
    class Runner(BaseRunner):
        def setup(self, weights: Optional[Path] = None):
            self.weights = weights
        def healthcheck(self): return True
        def run(
            self, image: Path = Input(description="i"), key: Secret = Input(default=None), old: File = None,
            more: list[Path] | None = None, size: float = Input(default=1, ge=0), times: int = 2,
        ) -> Answer:
            print("running", type(image).__name__, type(key).__name__, type(size).__name__)
            self.record_metric("timing.load", 0.5)
            self.scope.metrics["n"] = len(more)
            sizes = [len(path.read_bytes()) for path in [image, *more]] + [len(old.read()), times]
            out = Path(image.parent / "out.png")
            out.write_bytes(b"x" * 9)
            return Answer(kind=Kind.A, file=out, sizes=sizes)
    class Streaming(BaseRunner):
        @streaming
        def run(self, n: int) -> ConcatenateIterator[str]:
            for i in range(n): yield str(i)
            while n == 3: time.sleep(0.01)
    class Async(BaseRunner):
        async def setup(self): self.ready = asyncio.Event()
        async def healthcheck(self): return False
        @concurrent(max=2)
        async def run(self, n: int) -> AsyncConcatenateIterator[str]:
            print("begin", n)
            for i in range(n):
                yield str(i)
                await asyncio.sleep(0)
            if n == 3: await asyncio.sleep(1000)
    class Old(cog.Predictor):
        @cog.input("image", type=Path)
        @cog.input("n", type=int, default=3)
        def predict(self, image, n):
            return type(image).__name__ + str(n)
"""


@pytest.fixture(params=SUPPORTED)
def life(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    python = interpreters().get(request.param)
    if python is None:
        pytest.skip(f"this machine has no CPython {request.param}")
    with living(tmp_path, MODEL, python=str(python)) as life:
        yield life


def iterated(life: Life) -> None:
    assert life.predict("1", n=5).iterated
    assert life.items("1") == list("01234")
    life.start("2", n=3)
    life.find(Done, "1")
    deadline = time.monotonic() + PATIENCE
    while len(life.items("2")) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    life.send(Cancel("2"))
    assert life.find(Done, "2").status == "canceled"
    assert life.items("2") == list("012")


def test_a_class(life: Life) -> None:
    done = life.setup()
    assert (done.error, done.concurrency, done.healthcheck) == (None, 1, True), life.text
    url = "data:text/plain;base64,aGVsbG8="
    answer = life.predict("1", image=url, key="s", old=url, more=[url, url])
    assert answer.status == "succeeded", life.text
    assert answer.value == {"kind": "a", "file": None, "sizes": [5, 5, 5, 5, 2]}
    assert answer.files[0]["at"] == ["file"]
    assert Path(answer.files[0]["path"]).read_bytes() == b"x" * 9
    assert life.logs("1") == "running Path Secret float\n"
    assert life.metrics("1") == [("timing.load", 0.5, "replace"), ("n", 2, "replace")]
    life.send(Check(1))
    assert life.find(Checked, 1).error is None


def test_a_generator(life: Life) -> None:
    assert life.setup("run.py:Streaming").error is None, life.text
    iterated(life)


def test_an_async_generator(life: Life) -> None:
    done = life.setup("run.py:Async")
    assert (done.error, done.concurrency) == (None, 2), life.text
    iterated(life)
    life.send(Check(1))
    assert life.find(Checked, 1).error == "Healthcheck failed: user-defined healthcheck returned False"


def test_a_model_of_2021(life: Life) -> None:
    assert life.setup("run.py:Old").error is None, life.text
    assert life.predict("1", image="/etc/hosts").value == "Path3"
    assert life.predict("2").error == "Input validation error: image: Field required"
