"""A test's helpers are found whichever tests are asked for and in whichever order a worker collects them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
HELPERS = {path.stem for path in TESTS.rglob("*.py") if "corpus" not in path.parts and path.stem != "__init__"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def lost(path: Path, places: list[Path]) -> Iterator[str]:
    """The modules of the tests that this file imports and that none of these folders holds."""
    for name in imported(path):
        first, *rest = name.split(".")
        if first == "tests":
            where = TESTS.joinpath(*rest).with_suffix(".py")
            yield from (lost(where, places) if where.exists() else ())
        elif first in HELPERS:
            found = [place / f"{first}.py" for place in places if (place / f"{first}.py").exists()]
            if not found:
                yield f"{path.relative_to(TESTS)} imports {first}"
            else:
                yield from lost(found[0], places)


FOLDERS = sorted({path.parent for path in TESTS.rglob("test_*.py")})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_folder_alone_finds_its_helpers(folder: Path) -> None:
    """pytest puts the folder of a test and of each `conftest.py` above it on the path, and no other.

    Another folder's is there only while tests of that folder were collected before, which is luck.
    """
    above = [place for place in folder.parents if place.is_relative_to(TESTS) and (place / "conftest.py").exists()]
    assert [text for path in folder.glob("*.py") for text in lost(path, [folder, *above])] == []
