"""Documents that a person wrote: what OpenAPI 3.0 wants of them, and how it is said."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from builder.errors import SchemaError
from builder.schema import load, validate

FULL = json.loads((Path(__file__).parent / "full_example.json").read_text())


def changed(path: str, value: Any) -> dict[str, Any]:
    """The full example with one member set, or taken out if `value` is `...`."""
    document: dict[str, Any] = copy.deepcopy(FULL)
    holder: Any = document
    *parents, last = path.split(" ")
    for part in parents:
        holder = holder[part]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return document


PROPERTY = "components schemas Input properties"


def test_cogs_own_is_valid() -> None:
    validate(FULL)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("openapi", ..., "openapi: must be 3.0.x, not null"),
        ("openapi", "3.1.0", 'openapi: must be 3.0.x, not "3.1.0"'),
        ("info", ..., "info: must be an object with a title and a version"),
        ("info version", 3, "info.version: must be a string"),
        ("paths", ..., "paths: must be an object"),
        ("paths x", {}, "paths.x: must begin with `/`"),
        ("paths / get responses", {}, "paths./.get.responses: must be an object with at least one response"),
        (
            "paths / get responses 200 description",
            ...,
            ".get.responses.200: must be an object with a description",
        ),
        (
            "paths /predictions/{prediction_id}/cancel post parameters",
            [],
            "paths./predictions/{prediction_id}/cancel.post.parameters: must describe `prediction_id`",
        ),
        (
            "paths /predictions post requestBody content application/json schema $ref",
            "#/components/schemas/Nope",
            '.schema.$ref: "#/components/schemas/Nope" is nothing in this document',
        ),
        ("components schemas Größe", {}, "the name of a component may have only letters"),
        (f"{PROPERTY} flag type", "bool", ".flag.type: must be one of string, integer, number, boolean, array, object"),
        (f"{PROPERTY} flag type", ["string", "null"], ".flag.type: must be one of"),
        (f"{PROPERTY} tags items", ..., "Input.properties.tags.items: must say what the array holds"),
        (f"{PROPERTY} name minLength", -1, ".name.minLength: must be a whole number, and not negative"),
        (f"{PROPERTY} name pattern", 1, ".name.pattern: must be a string"),
        (f"{PROPERTY} num_steps maximum", "9", ".num_steps.maximum: must be a number"),
        (f"{PROPERTY} mask nullable", "yes", ".mask.nullable: must be true or false"),
        ("components schemas width enum", [], "components.schemas.width.enum: must be a list of at least one value"),
        ("components schemas Input required", "prompt", "Input.required: must be a list of different names"),
        ("components schemas Input required", ["a", "a"], "Input.required: must be a list of different names"),
        (
            f"{PROPERTY} num_steps default",
            501,
            "schemas.Input.properties.num_steps.default: 501 is above 500",
        ),
        (f"{PROPERTY} num_steps default", 0, ".num_steps.default: 0 is below 1"),
        (f"{PROPERTY} num_steps default", 1.5, ".num_steps.default: 1.5 is not an int"),
        (f"{PROPERTY} scheduler default", "X", '.scheduler.default: "X" is not one of the choices'),
        (f"{PROPERTY} width default", 1, ".width.default: 1 is not one of the choices"),
        (f"{PROPERTY} flag default", 0, ".flag.default: 0 is not a bool"),
        (f"{PROPERTY} name default", "xyz", '.name.default: "xyz" does not match ^a.*$'),
        (f"{PROPERTY} name default", "a" * 21, "is longer than 20 characters"),
        (f"{PROPERTY} value default", [], ".value.default: [] is of none of the types"),
        (f"{PROPERTY} tags default", ["a", 1], '.tags.default: ["a", 1] has a member that is not a str'),
        (f"{PROPERTY} bare_seed default", None, ".bare_seed.default: null is not an int"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        validate(changed(path, value))
    assert caught.value.brief.startswith("Model schema is invalid: ")
    assert message in str(caught.value)
    assert "--skip-schema-validation" in (caught.value.hint or "")


def test_all_at_once() -> None:
    document = changed(f"{PROPERTY} flag default", 0)
    document["openapi"] = 3
    with pytest.raises(SchemaError) as caught:
        validate(document)
    assert (caught.value.details or "").splitlines() == [
        "openapi: must be 3.0.x, not 3",
        "components.schemas.Input.properties.flag.default: 0 is not a bool",
    ]


def test_a_pattern_that_would_take_for_ever_is_left_to_the_server() -> None:
    document = changed(f"{PROPERTY} name pattern", "^(a+)+$")
    document["components"]["schemas"]["Input"]["properties"]["name"] |= {"default": "a" * 60 + "!", "maxLength": 99}
    validate(document)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(FULL))
    assert load(path) == FULL
    path.write_text(json.dumps({**FULL, "openapi": "2"}))
    assert load(path, check=False)["openapi"] == "2"
    with pytest.raises(SchemaError, match=r"Model schema is invalid: openapi: must be 3\.0\.x"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"openapi": ', "is no JSON"),
        (b"[1]", "holds no object"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b"\xff\xfe\xff", "is no JSON"),
        (b"", "is no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_files_that_are_no_documents(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "openapi.json"
    path.write_bytes(text)
    with pytest.raises(SchemaError, match="Model schema is invalid: ") as caught:
        load(path)
    assert message in caught.value.brief


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"failed to read .*: no such file or directory"):
        load(tmp_path / "nope.json")
