"""The oldest form: `@cog.input` above the method, no annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.errors import SchemaError
from builder.schema import document


def schemas(folder: Path, decorators: str, method: str, *, base: str = "cog.Model") -> Any:
    source = f"import cog\nimport cog as c\nfrom cog import input as inp\nfrom pathlib import Path\nclass M({base}):\n"
    (folder / "model.py").write_text(source + decorators + method)
    return document(folder, run="model.py:M", train=None, version="1")["components"]["schemas"]


RUN = "    def run(self, a, b=1):\n        return str(a)\n"


def test_all_arguments(tmp_path: Path) -> None:
    decorators = """
    @cog.input("a", type=float, default=1, min=0, max=2**3, help="an " "A", options=[1, 2])
    @inp("b", bool, False)
    @c.input(name="c", type=cog.Path, help="a file")
    @cog.input("d", type=int, default=None)
"""
    made = schemas(tmp_path, decorators, "    def run(self, a, b, c, d=None): return 'x'\n")
    assert made["Input"]["properties"] == {
        "a": {
            "allOf": [{"$ref": "#/components/schemas/a"}],
            "default": 1,
            "description": "an A",
            "maximum": 8,
            "minimum": 0,
            "x-order": 0,
        },
        "b": {"default": False, "title": "B", "type": "boolean", "x-order": 1},
        "c": {"description": "a file", "format": "uri", "title": "C", "type": "string", "x-order": 2},
        "d": {"title": "D", "type": "integer", "x-order": 3},
    }
    assert made["Input"]["required"] == ["c"]
    assert made["a"]["enum"] == [1, 2]
    assert made["Output"] == {"title": "Output", "type": "string"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return Path('x')", {"format": "uri", "type": "string"}),
        ("out = Path('/tmp') / 'a' / 'b.png'\n        if a:\n            return out\n        return out", None),
        ("return 'a'", {"type": "string"}),
        ("return {'a': 1}", {}),
        ("if a:\n            return 'a'\n        return Path('x')", {}),
        ("def inner():\n            return 'x'\n        return Path('x')", {"format": "uri", "type": "string"}),
        ("pass", {}),
    ],
)
def test_the_output_is_what_return_says(tmp_path: Path, body: str, expected: dict[str, str] | None) -> None:
    method = f"    @cog.input('a', type=str)\n    def predict(self, a):\n        {body}\n"
    made = schemas(tmp_path, "", method, base="cog.Predictor")["Output"]
    assert made == {**(expected if expected is not None else {"format": "uri", "type": "string"}), "title": "Output"}


@pytest.mark.parametrize(
    ("decorators", "message"),
    [
        ("    @cog.input('a')\n", "@cog.input('a') has no type"),
        ("    @cog.input(type=str)\n", "@cog.input needs the name of a parameter"),
        ("    @cog.input(NAME, type=str)\n", "@cog.input needs the name of a parameter"),
        ("    @cog.input('a', type=Unknown)\n", "unsupported type: Unknown"),
        ("    @cog.input('a', type=int, default='x')\n", "the default `'x'` is not an int"),
        ("    @cog.input('b', type=int)\n", "parameter 'a' on run has no @cog.input"),
    ],
)
def test_what_is_unclear(tmp_path: Path, decorators: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schemas(tmp_path, decorators, RUN)
    assert message in caught.value.brief
    assert caught.value.hint
    assert (caught.value.details or "").startswith("model.py:")


def test_annotations_still_count_where_there_is_no_decorator(tmp_path: Path) -> None:
    made = schemas(tmp_path, "", "    def predict(self, a: int) -> str: ...\n", base="cog.Predictor")
    assert made["Input"]["required"] == ["a"]
