"""Inputs: annotations, defaults, `Input(...)`, and what is said when one is unclear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.errors import SchemaError
from builder.schema import document

HEAD = """
from __future__ import annotations
import os
import pathlib
import typing
import typing as t
import cog
from typing import Annotated, Any, Dict, List, Optional, TypedDict, Union
from cog import File, Input, Opaque, Path, Path as P, Secret
import torch
from elsewhere import Thing

LIMIT = 2 * 50
NAMES = ["a", "b"]
TABLE = {"x": 1, "y": 2}
TEXT = "a text"
Alias = List[int]

class Extra(TypedDict):
    a: int

class Inputs:
    prompt = Input(description="from a class", default="p")
    @staticmethod
    def size() -> int:
        return Input(default=3, ge=1)
"""


def schemas(folder: Path, parameters: str, *, returns: str = "str") -> dict[str, Any]:
    source = f"{HEAD}\nclass Runner:\n    def run(self, {parameters}) -> {returns}: ...\n"
    (folder / "run.py").write_text(source)
    made: dict[str, Any] = document(folder, run="run.py:Runner", train=None, version="1")["components"]["schemas"]
    return made


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("x: str", {"type": "string"}),
        ("x: 'int'", {"type": "integer"}),
        ("x: float", {"type": "number"}),
        ("x: cog.Path", {"type": "string", "format": "uri"}),
        ("x: P", {"type": "string", "format": "uri"}),
        ("x: pathlib.Path", {"type": "string", "format": "uri"}),
        ("x: os.PathLike", {"type": "string", "format": "uri"}),
        ("x: File", {"type": "string", "format": "uri"}),
        ("x: Secret", {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True}),
        ("x: Any", {"type": "object"}),
        ("x: dict", {"type": "object"}),
        ("x: Dict[str, int]", {"type": "object"}),
        ("x: Extra", {"type": "object"}),
        ("x: Annotated[torch.Tensor, Opaque]", {"type": "object"}),
        ("x: Annotated[int, 'note']", {"type": "integer"}),
        ("x: t.List[Path]", {"type": "array", "items": {"type": "string", "format": "uri"}}),
        ("x: list[dict[str, int]]", {"type": "array", "items": {"type": "object"}}),
        ("x: Alias", {"type": "array", "items": {"type": "integer"}}),
        ("x: list", {"type": "array", "items": {}}),
        ("x: list[list[int]]", {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        ("x: List[Optional[int]]", {"type": "array", "items": {"type": "integer", "nullable": True}}),
        ("x: Annotated[list[torch.Tensor], Opaque]", {"type": "array", "items": {"type": "object"}}),
        ("x: Union[str, int]", {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
    ],
)
def test_annotation(tmp_path: Path, parameter: str, expected: dict[str, Any]) -> None:
    made = schemas(tmp_path, parameter)["Input"]
    assert made["properties"]["x"] == {**expected, "title": "X", "x-order": 0}
    assert made["required"] == ["x"]


@pytest.mark.parametrize(
    ("parameter", "expected", "required"),
    [
        ("x: Optional[int]", {"nullable": True}, False),
        ("x: int | None = None", {"nullable": True, "default": None}, False),
        ("x: None | int = 3", {"nullable": True, "default": 3}, False),
        ("x: 'Optional[int]' = Input(description='d')", {"nullable": True, "description": "d"}, False),
        ("x: int = 5", {"default": 5}, False),
        ("x: int = -5", {"default": -5}, False),
        ("x: int = LIMIT", {"default": 100}, False),
        ("x: int = Input(default=5 * 60)", {"default": 300}, False),
        ("x: int = Input(5)", {"default": 5}, False),
        ("x: int = Input(default=LIMIT, le=2**31)", {"default": 100, "maximum": 2**31}, False),
        ("x: int = Input(ge=LIMIT)", {"minimum": 100}, True),
        ("x: int = Input(default=None)", {}, False),
        ("x: int = None", {}, False),
        ("x: int = Input(...)", {}, True),
        ("x: int = Input(default=..., ge=1)", {"minimum": 1}, True),
        ("x: int = Input()", {}, True),
        ("x: int = Inputs.size()", {"default": 3, "minimum": 1}, False),
        # only running the code would tell, but there is one: so it need not be given
        ("x: int = Input(default=os.environ['X'])", {}, False),
    ],
)
def test_default(tmp_path: Path, parameter: str, expected: dict[str, Any], required: bool) -> None:
    made = schemas(tmp_path, parameter)["Input"]
    assert made["properties"]["x"] == {"title": "X", "type": "integer", "x-order": 0, **expected}
    assert made.get("required", []) == (["x"] if required else [])


def test_constants_that_a_loop_changes(tmp_path: Path) -> None:
    loop = "for k in 'ab':\n    S.append(k)\n    N += 1\n"
    source = f"from cog import Input\nS, N = [], 0\n{loop}def run(x: int = Input(default=N), y: str = %s) -> str: ...\n"
    (tmp_path / "run.py").write_text(source % "'a'")
    made = document(tmp_path, run="run.py:run", train=None, version="1")["components"]["schemas"]["Input"]
    assert "required" not in made
    assert made["properties"]["x"] == {"title": "X", "type": "integer", "x-order": 0}
    (tmp_path / "run.py").write_text(source % "Input(choices=S)")
    with pytest.raises(SchemaError, match="parameter 'y': choices expression cannot be statically resolved"):
        document(tmp_path, run="run.py:run", train=None, version="1")


def test_text_is_what_python_makes_of_it(tmp_path: Path) -> None:
    made = schemas(tmp_path, r"""x: str = Input(default="a\n" "b", description=TEXT + "!", regex=r"(?s)\A.*")""")
    found = made["Input"]["properties"]["x"]
    assert (found["default"], found["description"], found["pattern"]) == ("a\nb", "a text!", r"(?s)\A.*")


def test_input_of_a_class_attribute(tmp_path: Path) -> None:
    made = schemas(tmp_path, "prompt: str = Inputs.prompt")["Input"]["properties"]["prompt"]
    assert made == {"default": "p", "description": "from a class", "title": "Prompt", "type": "string", "x-order": 0}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ("['u', 'v']", ["u", "v"]),
        ("NAMES", ["a", "b"]),
        ("NAMES + ['c']", ["a", "b", "c"]),
        ("list(TABLE.keys())", ["x", "y"]),
        ("list(TABLE)", ["x", "y"]),
        ("('u',)", ["u"]),
    ],
)
def test_choices(tmp_path: Path, choices: str, expected: list[str]) -> None:
    made = schemas(tmp_path, f"kind: str = Input(choices={choices})")
    assert made["Input"]["properties"]["kind"] == {"allOf": [{"$ref": "#/components/schemas/kind"}], "x-order": 0}
    assert made["kind"] == {"description": "An enumeration.", "enum": expected, "title": "kind", "type": "string"}


def test_choices_of_values(tmp_path: Path) -> None:
    made = schemas(tmp_path, "kind: Optional[int] = Input(default=2, choices=list(TABLE.values()))")
    assert made["kind"]["enum"] == [1, 2]
    assert made["kind"]["type"] == "integer"
    assert made["Input"]["properties"]["kind"]["nullable"] is True


def test_separators_and_keyword_only(tmp_path: Path) -> None:
    made = schemas(tmp_path, "a: int, /, b: int = 1, *, c: int = 2, d_e: str")["Input"]
    assert {name: item["x-order"] for name, item in made["properties"].items()} == {"a": 0, "b": 1, "c": 2, "d_e": 3}
    assert made["required"] == ["a", "d_e"]
    assert made["properties"]["d_e"]["title"] == "D E"


@pytest.mark.parametrize(
    ("parameter", "message", "pointed"),
    [
        ("x", "parameter 'x' on run has no type annotation", "x"),
        ("x: Unknown", "unsupported type: Unknown", "Unknown"),
        ("x: Thing", "cannot resolve type 'Thing' (imported from 'elsewhere')", "Thing"),
        ("x: Annotated[Thing, torch.Opaque]", "cannot resolve type 'Thing' (imported from 'elsewhere')", "Thing"),
        ("x: torch.Tensor", "cannot resolve type 'torch.Tensor' (imported from 'torch')", "torch"),
        ("x: List[Optional[Path]]", "nested generics like List[Optional[Path]] are not supported", "List"),
        ("x: list[list[Secret]]", "nested generics like list[list[Secret]] are not supported", "list"),
        ("x: tuple[int, int]", "tuple[...] is not a supported input type", "tuple"),
        ("x: str | Path", "Path is not supported in union inputs", "Path"),
        ("x: str | int = Input(ge=1)", "constraints and choices are not supported on union inputs", "Input"),
        ("x: str = Input(accept='a')", "accept is only valid on Path or File inputs (parameter 'x')", "'a'"),
        ("x: list = Input(default_factory=list)", "parameter 'x': default_factory is not supported", "list)"),
        ("x: str = Input(choices=os.listdir())", "parameter 'x': choices expression cannot be statically", "os"),
        ("x: str = os.name", "parameter 'x': default `os.name` cannot be statically resolved", "os"),
        ("x: int = 'a'", "the default `'a'` is not an int", "'a'"),
        ("x: int = True", "is not an int", "True"),
        ("x: int = Input(default=0, ge=1)", "the default `0` is below 1", "0"),
        ("x: str = Input(default='c', choices=NAMES)", "is not one of the choices", "'c'"),
        ("x: str = Input(default='c', regex='^a')", "does not match ^a", "'c'"),
        ("x: 'in t'", "is not Python", "'in t'"),
    ],
)
def test_what_is_unclear_is_pointed_at(tmp_path: Path, parameter: str, message: str, pointed: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schemas(tmp_path, parameter)
    assert message in caught.value.brief
    place, line, mark = (caught.value.details or "").splitlines()
    number = len(HEAD.splitlines()) + 3
    assert place.startswith(f"run.py:{number}:")
    assert line[len(mark) - 1 :].startswith(pointed)


@pytest.mark.parametrize(
    ("members", "written"),
    [
        ("A = 'a'\n    B = 'b'", "`str` with `choices=[e.value for e in S]`"),
        ("A = 1", "`int` with `choices=[e.value for e in S]`"),
        ("A = auto()", "write the values of S"),
        ("A = 'a'\n    B = 1", "write the values of S"),
    ],
)
def test_an_enum_is_told_what_to_write(tmp_path: Path, members: str, written: str) -> None:
    head = f"from enum import Enum, auto\nfrom cog import Input\nclass S(Enum):\n    {members}\n"
    (tmp_path / "run.py").write_text(f"{head}def run(x: S) -> str: ...\n")
    with pytest.raises(SchemaError, match="unsupported type: S") as caught:
        document(tmp_path, run="run.py:run", train=None, version="1")
    assert written in (caught.value.hint or "")
    if "choices" in written:  # and it works
        _, kind, _, choices, _ = written.split("`")
        (tmp_path / "run.py").write_text(f"{head}def run(x: {kind} = Input({choices})) -> str: ...\n")
        made = document(tmp_path, run="run.py:run", train=None, version="1")["components"]["schemas"]
        assert made["x"]["enum"] == (["a", "b"] if kind == "str" else [1])


def test_every_problem_at_once(tmp_path: Path) -> None:
    with pytest.raises(SchemaError) as caught:
        schemas(tmp_path, "x, y: Unknown, z: int", returns="Optional[str]")
    assert caught.value.brief == "the inputs and output of `run.py:Runner` are unclear"
    details = caught.value.details or ""
    assert "parameter 'x'" in details
    assert "unsupported type: Unknown" in details
    assert "Optional is not allowed as a return type" in details
