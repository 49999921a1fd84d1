"""The document of each example, whole: equal to the one that Cog's generator makes, key by key.

The goldens were compared with the documents that Cog 0.22.0 makes of the same sources; where it makes none, or another,
the reason is in the table of docs/schema.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder import config, schema
from builder.schema.written import validate

ROOT = Path(__file__).parents[2] / "examples"
GOLDENS = Path(__file__).parent / "examples"
EXAMPLES = sorted(path.parent.name for path in ROOT.glob("*/cog.yaml"))


def example(name: str) -> dict[str, Any]:
    folder = ROOT / name
    loaded = config.load((folder / "cog.yaml").read_text(), path=folder / "cog.yaml")
    return schema.document(folder, run=loaded.run, train=loaded.train, version="0.22.0")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_document_is_the_one_expected(name: str) -> None:
    golden = GOLDENS / f"{name}.json"
    assert golden.exists(), f"a new example: `python tests/schema/golden.py`, and read what it wrote to {golden}"
    made = example(name)
    assert json.dumps(made, indent=1) == json.dumps(json.loads(golden.read_text()), indent=1)
    validate(made)


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in GOLDENS.iterdir()} == set(EXAMPLES)
