"""Finding the runner, its output, and the facts beside the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.errors import SchemaError
from builder.schema import document
from builder.schema.runner import describe
from builder.schema.source import Project

HEAD = """
from typing import Any, AsyncIterator, Iterator, List, NamedTuple, Optional, TypedDict, Union
import dataclasses
import pydantic
from cog import AsyncConcatenateIterator, BaseModel, ConcatenateIterator, Path, Secret, concurrent, streaming
"""


def output(folder: Path, returns: str, *, before: str = "") -> Any:
    (folder / "run.py").write_text(f"{HEAD}\n{before}\ndef run() -> {returns}: ...\n")
    made = document(folder, run="run.py:run", train=None, version="1")["components"]["schemas"]["Output"]
    assert made.pop("title") == "Output"
    return made


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ("str", {"type": "string"}),
        ("Path", {"type": "string", "format": "uri"}),
        ("Any", {"type": "object"}),
        ("None", {"type": "object", "nullable": True}),
        ("dict", {"type": "object"}),
        ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("List[Path]", {"type": "array", "items": {"type": "string", "format": "uri"}}),
        ("list[list[int]]", {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        (
            "Iterator[Path]",
            {"type": "array", "items": {"type": "string", "format": "uri"}, "x-cog-array-type": "iterator"},
        ),
        ("'AsyncIterator[int]'", {"type": "array", "items": {"type": "integer"}, "x-cog-array-type": "iterator"}),
        (
            "AsyncConcatenateIterator[str]",
            {
                "type": "array",
                "items": {"type": "string"},
                "x-cog-array-type": "iterator",
                "x-cog-array-display": "concatenate",
            },
        ),
    ],
)
def test_output(tmp_path: Path, returns: str, expected: dict[str, Any]) -> None:
    assert output(tmp_path, returns) == expected


def test_models(tmp_path: Path) -> None:
    before = """
class Point(TypedDict):
    x: float
class Base(BaseModel):
    name: str
class Result(Base):
    count: int = 3
    maybe: Optional[str]
    points: list[Point]
    again: "Result"
"""
    point = {"type": "object", "properties": {"x": {"title": "X", "type": "number"}}, "required": ["x"]}
    assert output(tmp_path, "Result", before=before) == {
        "type": "object",
        "properties": {
            "name": {"title": "Name", "type": "string"},
            "count": {"title": "Count", "type": "integer"},
            "maybe": {"title": "Maybe", "type": "string", "nullable": True},
            "points": {"title": "Points", "type": "array", "items": point},
            "again": {"title": "Again", "type": "object"},
        },
        "required": ["name", "points", "again"],
    }


@pytest.mark.parametrize(
    "kind",
    ["@dataclasses.dataclass\nclass R", "@dataclasses.dataclass(frozen=True)\nclass R", "class R(pydantic.BaseModel)"],
)
def test_other_models(tmp_path: Path, kind: str) -> None:
    assert output(tmp_path, "R", before=f"{kind}:\n    a: int\n")["required"] == ["a"]


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("Optional[str]", "unsupported output type: Optional is not allowed as a return type"),
        ("str | int", "union types are not supported as output"),
        ("ConcatenateIterator[int]", "ConcatenateIterator element type must be str, got int"),
        ("tuple[int, int]", "unsupported output type: tuple[...] is not a supported output type"),
        ("Plain", "unsupported output type: Plain is neither"),
        ("Nothing", "cannot resolve type 'Nothing' - it is not a primitive type (str, int, float, bool, Path)"),
    ],
)
def test_outputs_that_are_refused(tmp_path: Path, returns: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        output(tmp_path, returns, before="class Plain:\n    a: int\n")
    assert message in caught.value.brief
    assert "run.py:" in (caught.value.details or "")


def test_missing_return_type(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def run(x: int):\n    ...\n")
    with pytest.raises(SchemaError, match="missing return type"):
        document(tmp_path, run="run.py:run", train=None, version="1")


def test_the_method_may_be_inherited_also_from_another_file(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/base.py").write_text(
        "from .kinds import Kind\nclass Base:\n    def run(self, x: Kind) -> int: ...\n"
    )
    (tmp_path / "lib/kinds.py").write_text("Kind = list[str]\n")
    (tmp_path / "run.py").write_text("from lib.base import Base as B\nclass Runner(B):\n    def setup(self): ...\n")
    made = document(tmp_path, run="run.py:Runner", train=None, version="1")["components"]["schemas"]
    assert made["Input"]["properties"]["x"]["items"] == {"type": "string"}
    assert made["Output"]["type"] == "integer"


def test_a_predictor_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/predict.py").write_text("class Predictor:\n    def predict(self, s: str) -> str: ...\n")
    assert document(tmp_path, run="sub/predict.py:Predictor", train=None, version="1")


def test_definitions_inside_if_and_try_count(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "try:\n    from cog import Path\nexcept ImportError:\n    pass\nif True:\n    def run(p: Path) -> Path: ...\n"
    )
    made = document(tmp_path, run="run.py:run", train=None, version="1")["components"]["schemas"]
    assert made["Output"]["format"] == "uri"


def names_of_inputs(folder: Path, body: str) -> list[str]:
    (folder / "run.py").write_text(f"from cog import Input\nclass Runner:\n{body}")
    made = document(folder, run="run.py:Runner", train=None, version="1")["components"]["schemas"]
    return list(made["Input"]["properties"])


def test_of_methods_under_conditions_the_first_counts(tmp_path: Path) -> None:
    one, other = (f"        def predict(self, {name}: str) -> str: ...\n" for name in "st")
    assert names_of_inputs(tmp_path, f"    if x:\n{one}    else:\n{other}") == ["s"]
    last = other.replace("        def", "    def")
    assert names_of_inputs(tmp_path, f"    if x:\n{one}{last}") == ["t"]
    assert names_of_inputs(tmp_path, f"{last}    if x:\n{one}") == ["t"]


def test_what_stands_below_the_method_is_not_known_to_it(tmp_path: Path) -> None:
    method = "    def predict(self, s: list[str], d: dict = Input(default={})) -> 'Out': ...\n"
    below = "    def list(self): ...\n    @property\n    def dict(self): ...\n    class Out(dict): ...\n"
    assert names_of_inputs(tmp_path, method.replace("'Out'", "str") + below) == ["s", "d"]
    above = "    C = ['a']\n    if x:\n        D = 'a'\n"
    use = "    def predict(self, s: str = Input(default=D, choices=C)) -> str: ...\n"
    assert names_of_inputs(tmp_path, above + use + "    C = 1\n") == ["s"]
    later = "    def predict(self, s: str) -> 'Out': ...\n    class Out(BaseModel):\n        x: int\n"
    (tmp_path / "run.py").write_text(f"from cog import BaseModel\nclass Runner:\n{later}")
    made = document(tmp_path, run="run.py:Runner", train=None, version="1")["components"]["schemas"]
    assert list(made["Output"]["properties"]) == ["x"]


def test_facts(tmp_path: Path) -> None:
    source = f"""{HEAD}
class A:
    @concurrent(max=5)
    @streaming()
    async def run(self) -> AsyncIterator[str]: ...
class B:
    def run(self) -> str: ...
"""
    (tmp_path / "run.py").write_text(source)
    busy = describe(Project(tmp_path), reference="run.py:A", mode="run")
    assert (busy.is_async, busy.streaming, busy.concurrency) == (True, True, 5)
    plain = describe(Project(tmp_path), reference="run.py:B", mode="run")
    assert (plain.is_async, plain.streaming, plain.concurrency) == (False, False, None)


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        (
            "class Runner:\n    def run(self) -> str: ...\n    def predict(self) -> str: ...\n",
            "run.py:Runner",
            "not both",
        ),
        ("class Runner: ...\n", "run.py:Runner", "run or predict method not found: Runner"),
        ("x = 1\n", "run.py:Runner", "has no class or function `Runner`"),
        ("Runner = 1\n", "run.py:Runner", "has no class or function `Runner`"),
        ("def f(:\n", "run.py:Runner", "`run.py` is not valid Python"),
        ("", "nope.py:Runner", "failed to read predictor source nope.py"),
        ("", "../run.py:Runner", 'predictor source path "../run.py" is outside source directory'),
        ("", "/etc/x.py:Runner", "is outside source directory"),
        ("import cog\n@cog.streaming\ndef run() -> str: ...\n", "run.py:run", "@streaming needs an iterator"),
        (
            "import cog\n@cog.concurrent(max=2)\ndef run() -> str: ...\n",
            "run.py:run",
            "greater than 1 requires an async",
        ),
        ("import cog\n@cog.concurrent(max=N)\nasync def run() -> str: ...\n", "run.py:run", "must be an integer"),
        ("class A(B): ...\nclass B(A): ...\n", "run.py:A", "run or predict method not found: A"),
    ],
)
def test_runners_that_are_refused(tmp_path: Path, source: str, reference: str, message: str) -> None:
    (tmp_path / "run.py").write_text(source)
    with pytest.raises(SchemaError) as caught:
        document(tmp_path, run=reference, train=None, version="1")
    assert message in caught.value.brief


def test_a_symbolic_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.py").write_text("def run() -> str: ...\n")
    inside = tmp_path / "project"
    inside.mkdir()
    (inside / "run.py").symlink_to("../out.py")
    with pytest.raises(SchemaError, match="outside source directory"):
        document(inside, run="run.py:run", train=None, version="1")


def test_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("raise SystemExit('run')\ndef run() -> str: ...\n")
    assert document(tmp_path, run="run.py:run", train=None, version="1")
