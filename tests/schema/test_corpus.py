"""Models in the style of public ones, and the document of each.

The expected documents were read by a person, and compared with those that Cog's own generator makes wherever it makes
one; what differs is in the table of docs/schema.md.  They hold what is the model's own: the rest is the same in all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder import schema
from builder.schema.written import validate

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
INDEX: dict[str, dict[str, str]] = json.loads((CORPUS / "index.json").read_text())
COMMON = ("PredictionRequest", "PredictionResponse", "TrainingRequest", "TrainingResponse")
COMMON += ("Status", "HTTPValidationError", "ValidationError")


def read(name: str) -> schema.Reading:
    """A folder is a project of its own; the other models share one."""
    references = INDEX[name]
    root = CORPUS
    if (CORPUS / name).is_dir():
        root = CORPUS / name
        references = {mode: reference.removeprefix(f"{name}/") for mode, reference in references.items()}
    return schema.read(root, run=references.get("run"), train=references.get("train"), version="1.2.3")


def own(reading: schema.Reading) -> dict[str, Any]:
    document = reading.document
    schemas = {name: made for name, made in document["components"]["schemas"].items() if name not in COMMON}
    streaming = document["paths"].get("/predictions", {}).get("post", {}).get("x-cog-streaming", False)
    return {"schemas": schemas, "streaming": streaming, "concurrency": reading.concurrency}


@pytest.mark.parametrize("name", INDEX)
def test_the_document_is_the_one_expected(name: str) -> None:
    expected = json.loads((CORPUS / "expected" / f"{name}.json").read_text())
    made = own(read(name))
    assert made == expected
    assert json.dumps(made) == json.dumps(expected)  # the order of members too


@pytest.mark.parametrize("name", INDEX)
def test_what_is_common_is_the_same_in_all(name: str) -> None:
    document = read(name).document
    full = json.loads((HERE / "full_example.json").read_text())
    schemas = document["components"]["schemas"]
    assert {key: schemas[key] for key in ("Status", "HTTPValidationError", "ValidationError")} == {
        key: full["components"]["schemas"][key] for key in ("Status", "HTTPValidationError", "ValidationError")
    }
    for key in ("/", "/health-check"):
        assert document["paths"][key] == full["paths"][key]
    if "run" in INDEX[name] and "train" not in INDEX[name]:
        assert list(document["paths"]) == list(full["paths"])
        assert schemas["PredictionResponse"] == full["components"]["schemas"]["PredictionResponse"]


@pytest.mark.parametrize("name", INDEX)
def test_each_is_a_valid_openapi_document(name: str) -> None:
    document = read(name).document
    validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_each_file_of_the_corpus_is_used() -> None:
    named = {reference.partition(":")[0].partition("/")[0] for modes in INDEX.values() for reference in modes.values()}
    there = {
        path.name for path in CORPUS.iterdir() if path.suffix == ".py" or (path.is_dir() and path.name[0] not in "._")
    }
    assert there - {"expected"} == named
    assert {path.stem for path in (CORPUS / "expected").iterdir()} == set(INDEX)
