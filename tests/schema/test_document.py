"""The whole document, compared with one that Cog 0.22.0 made of the same source, member order included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.errors import SchemaError
from builder.schema import document

HERE = Path(__file__).parent

FULL = """
from typing import Optional
from cog import BaseModel, BaseRunner, Input, Path, Secret

class Output(BaseModel):
    text: str
    image_out: Optional[Path]
    scores: dict[str, list[float]]

class Runner(BaseRunner):
    def run(
        self,
        prompt: str = Input(description="Input prompt"),
        image: Path = Input(description="Image", accept="image/*"),
        num_steps: int = Input(default=50, ge=1, le=500),
        scale: float = Input(default=1.5, ge=0, le=10),
        scheduler: str = Input(description="sched", default="DDIM", choices=["DDIM", "PNDM"]),
        width: int = Input(default=512, choices=[256, 512]),
        seed: Optional[int] = Input(default=None),
        bare_seed: int = Input(default=None),
        mask: Path | None,
        tags: list[str],
        opt_tags: list[str] | None = Input(default=None),
        token: Secret = Input(default=None),
        extra: dict = Input(default={}),
        value: str | float | None = Input(default=None),
        name: str = Input(default="abc", min_length=1, max_length=20, regex="^a.*$", deprecated=True),
        flag: bool = False,
    ) -> Output:
        ...
""".replace("        prompt:", "        *,\n        prompt:")


def make(folder: Path, source: str, *, name: str = "run.py") -> Path:
    (folder / name).write_text(source)
    return folder


def of(folder: Path, source: str, *, run: str = "run.py:Runner", train: str | None = None) -> dict[str, Any]:
    return document(make(folder, source), run=run, train=train, version="1.2.3")


def test_the_full_example_is_upstreams(tmp_path: Path) -> None:
    expected = json.loads((HERE / "full_example.json").read_text())
    expected["info"]["version"] = "1.2.3"
    # the one intended difference: `bare_seed: int = Input(default=None)` may be left out (docs/schema.md)
    expected["components"]["schemas"]["Input"]["required"].remove("bare_seed")
    made = of(tmp_path, FULL)
    assert made == expected
    assert json.dumps(made) == json.dumps(expected)


def test_streaming(tmp_path: Path) -> None:
    made = of(
        tmp_path,
        """
import cog
class Runner:
    @cog.streaming
    def run(self) -> cog.ConcatenateIterator[str]:
        yield "a"
""",
    )
    schemas = made["components"]["schemas"]
    assert schemas["Input"] == {"properties": {}, "title": "Input", "type": "object"}
    assert schemas["Output"] == {
        "items": {"type": "string"},
        "title": "Output",
        "type": "array",
        "x-cog-array-display": "concatenate",
        "x-cog-array-type": "iterator",
    }
    assert made["paths"]["/predictions"]["post"]["x-cog-streaming"] is True


def test_train_alone_and_merged(tmp_path: Path) -> None:
    source = """
from cog import BaseModel, Path
class TrainingOutput(BaseModel):
    weights: Path
def train(data: Path, steps: int = 10) -> TrainingOutput: ...
def run(x: str) -> str: ...
"""
    alone = document(make(tmp_path, source), run=None, train="run.py:train", version="1")
    schemas = alone["components"]["schemas"]
    assert list(schemas)[:4] == ["TrainingInput", "TrainingOutput", "TrainingRequest", "TrainingResponse"]
    assert schemas["TrainingInput"]["required"] == ["data"]
    assert schemas["TrainingOutput"] == {
        "properties": {"weights": {"format": "uri", "title": "Weights", "type": "string"}},
        "required": ["weights"],
        "title": "Output",
        "type": "object",
    }
    assert schemas["TrainingRequest"]["properties"]["input"] == {"$ref": "#/components/schemas/TrainingInput"}
    assert list(alone["paths"]) == ["/", "/health-check", "/trainings", "/trainings/{training_id}/cancel"]
    both = of(tmp_path, source, run="run.py:run", train="run.py:train")
    assert set(both["components"]["schemas"]) >= {"Input", "Output", "TrainingInput", "TrainingOutput", "Status"}
    assert json.dumps(both) == json.dumps(both, sort_keys=True)


def test_no_reference(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no predict or train reference provided"):
        document(tmp_path, run=None, train=None, version="1")
