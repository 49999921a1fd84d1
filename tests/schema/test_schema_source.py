"""Names followed through the files of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.errors import SchemaError
from builder.schema import document

BASE = "from cog import Input\nclass Base:\n    def run(self, x: int = Input(default=1)) -> str: ...\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def inputs(folder: Path, files: dict[str, str], *, run: str = "run.py:Runner") -> Any:
    write(folder, files)
    return document(folder, run=run, train=None, version="1")["components"]["schemas"]["Input"]["properties"]


@pytest.mark.parametrize(
    ("line", "base"),
    [
        ("from base import Base", "Base"),
        ("from base import Base as B", "B"),
        ("from base import *", "Base"),
        ("import base", "base.Base"),
        ("import base as b", "b.Base"),
        ("from pkg import Base", "Base"),
        ("from pkg.inner import Base", "Base"),
        ("from pkg import inner", "inner.Base"),
        ("from pkg import *", "Base"),
        ("import pkg.inner", "pkg.inner.Base"),
        ("import pkg.inner as q", "q.Base"),
        ("from space.inner import Base", "Base"),  # a folder without __init__.py
        ("from space import inner", "inner.Base"),
        ("import space.inner", "space.inner.Base"),
        ("from .base import Base", "Base"),
        ("from . import base", "base.Base"),
        ("from star import *", "Base"),  # a star of a star
        ("try:\n    from base import Base\nexcept ImportError:\n    Base = object", "Base"),
        ("import base\nAlias = base.Base", "Alias"),
    ],
)
def test_imports(tmp_path: Path, line: str, base: str) -> None:
    files = {
        "base.py": BASE,
        "star.py": "from base import *\nfrom star import *\n",
        "pkg/__init__.py": "from .inner import Base\n",
        "pkg/inner.py": BASE,
        "space/inner.py": BASE,
        "run.py": f"{line}\nclass Runner({base}): ...\n",
    }
    assert inputs(tmp_path, files)["x"]["default"] == 1


def test_relative_to_the_file_that_says_so(tmp_path: Path) -> None:
    files = {
        "a/b/run.py": "from ..base import Base\nfrom ...top import T\nclass Runner(Base): ...\n",
        "a/base.py": BASE.replace("int =", "T =") + "from .kinds import T\n",
        "a/kinds.py": "T = int\n",
        "kinds.py": "T = str\n",
    }
    assert inputs(tmp_path, files, run="a/b/run.py:Runner")["x"]["type"] == "integer"


def test_nothing_outside_the_project_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"secret.py": "T = int\n", "p/run.py": "from ..secret import T\ndef run(x: T) -> str: ...\n"})
    (tmp_path / "p/link.py").symlink_to("../secret.py")
    with pytest.raises(SchemaError, match=r"cannot resolve type 'T' \(imported from '..secret'\)"):
        document(tmp_path / "p", run="run.py:run", train=None, version="1")
    (tmp_path / "p/run.py").write_text("from link import T\ndef run(x: T) -> str: ...\n")
    with pytest.raises(SchemaError, match="cannot resolve type 'T'"):
        document(tmp_path / "p", run="run.py:run", train=None, version="1")


def test_the_first_of_several_methods_is_the_one_python_calls(tmp_path: Path) -> None:
    source = """
class A:
    def run(self, a: int) -> int: ...
class B(A): ...
class C(A):
    def run(self, old: int) -> int: ...
    def run(self, c: int) -> int: ...
class Runner(B, C): ...
"""
    assert list(inputs(tmp_path, {"run.py": source})) == ["c"]


def test_names_of_the_class(tmp_path: Path) -> None:
    source = """
from cog import Input
SIZES = [1]
class Base:
    SIZES = [2]
class Runner(Base):
    SIZES = [3, 4]
    Kind = float
    if True:
        def run(self, x: Kind = Input(choices=SIZES, default=SIZES[0])) -> str: ...
"""
    write(tmp_path, {"run.py": source})
    made = document(tmp_path, run="run.py:Runner", train=None, version="1")["components"]["schemas"]
    assert made["x"] == {"description": "An enumeration.", "enum": [3, 4], "title": "x", "type": "number"}


def test_newer_syntax(tmp_path: Path) -> None:
    source = """
type Names = list[str]
type Pair[T] = dict[str, T]
class Base[T]:
    async def run[S](self, names: Names, pair: Pair) -> str: ...
class Runner(Base[int]): ...
"""
    made = inputs(tmp_path, {"run.py": source})
    assert made["names"]["items"] == {"type": "string"}


def test_a_name_alone_is_enough(tmp_path: Path) -> None:
    files = {"run.py": "def other(): ...\ndef predict(text: str) -> str: ...\n"}
    assert list(inputs(tmp_path, files, run="run.py")) == ["text"]
    with pytest.raises(SchemaError, match="has no class or function `run2`") as caught:
        inputs(tmp_path, files, run="run.py:run2")
    assert "other, predict" in (caught.value.hint or "")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_places_count_letters(tmp_path: Path, encoding: str) -> None:
    text = "# -*- coding: {} -*-\r\nS = 'é\u00a0'\r\ndef run(größe: Unknown) -> str: ...\r\n"
    text = text.format("utf-8" if encoding == "utf-8-sig" else encoding)
    (tmp_path / "run.py").write_bytes(text.encode(encoding))
    with pytest.raises(SchemaError) as caught:
        document(tmp_path, run="run.py:run", train=None, version="1")
    details = caught.value.details or ""
    if encoding == "utf-8-sig":
        place, line, mark = details.splitlines()
        assert place == "run.py:3:16"
        assert line[len(mark) - 1 :].startswith("Unknown")
    else:
        assert details.startswith("run.py:3:")


def test_syntax_errors_are_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("class Runner:\n    def run(self) -> str\n        pass\n")
    with pytest.raises(SchemaError) as caught:
        document(tmp_path, run="run.py:Runner", train=None, version="1")
    place, line, mark = (caught.value.details or "").splitlines()
    assert place.startswith("run.py:2:25: expected ':'")
    assert line == "    def run(self) -> str"
    assert len(mark) == len(line) + 1
    assert "newer than" in (caught.value.hint or "")


def test_a_file_that_is_no_python_matters_only_where_it_is_needed(tmp_path: Path) -> None:
    files = {
        "legacy.py": "x = 1\nprint 'x'\n",
        "run.py": "import legacy\nfrom legacy import Kind\n@legacy.timed\ndef run(x: int) -> str: ...\n",
    }
    assert inputs(tmp_path, files, run="run.py:run")["x"]["type"] == "integer"
    with pytest.raises(SchemaError, match=r"cannot resolve type 'Kind' \(imported from 'legacy'\)") as caught:
        inputs(tmp_path, {"run.py": files["run.py"].replace("int", "Kind")}, run="run.py:run")
    assert "not understood: legacy.py:2:1: Missing parentheses" in (caught.value.details or "")
