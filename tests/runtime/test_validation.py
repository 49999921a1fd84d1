from __future__ import annotations

from typing import Any

import pytest
from cog.server.validation import InputSchema
from runtime_image import document

PROPERTIES: dict[str, Any] = {
    "prompt": {"type": "string", "minLength": 1, "maxLength": 4, "pattern": "^a.*$"},
    "steps": {"type": "integer", "minimum": 1, "maximum": 10},
    "scale": {"type": "number"},
    "flag": {"type": "boolean"},
    "pick": {"allOf": [{"$ref": "#/components/schemas/pick"}], "default": "a"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "maybe": {"type": "string", "nullable": True},
    "either": {"anyOf": [{"type": "string"}, {"type": "number"}]},
    "either_or_none": {
        "anyOf": [{"type": "string", "nullable": True}, {"type": "number", "nullable": True}],
        "nullable": True,
    },
    "extra": {"type": "object", "additionalProperties": {"type": "integer"}},
    "needy": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
SCHEMA = InputSchema(document(PROPERTIES, (), pick={"enum": ["a", "b"], "type": "string", "title": "pick"}))


@pytest.mark.parametrize(
    "given",
    [
        {}, {"prompt": "abc"}, {"steps": 5.0}, {"scale": 1}, {"scale": 10**40}, {"flag": False}, {"pick": "b"},
        {"tags": []}, {"tags": ["a"]}, {"maybe": None}, {"either": 1.5}, {"either_or_none": None}, {"extra": {"a": 1}},
    ],
)  # fmt: skip
def test_good(given: dict[str, Any]) -> None:
    assert SCHEMA.problems(given) == []


@pytest.mark.parametrize(
    ("given", "where", "message"),
    [
        ({"prompt": 5}, "prompt", '5 is not of type "string"'),
        ({"prompt": ""}, "prompt", '"" is shorter than 1 character'),
        ({"prompt": "aaaaa"}, "prompt", '"aaaaa" is longer than 4 characters'),
        ({"prompt": "x"}, "prompt", '"x" does not match "^a.*$"'),
        ({"prompt": None}, "prompt", 'null is not of type "string"'),
        ({"steps": 99}, "steps", "99 is greater than the maximum of 10"),
        ({"steps": 0}, "steps", "0 is less than the minimum of 1"),
        ({"steps": "5"}, "steps", '"5" is not of type "integer"'),
        ({"steps": 5.5}, "steps", '5.5 is not of type "integer"'),
        ({"steps": True}, "steps", 'true is not of type "integer"'),
        ({"flag": 1}, "flag", '1 is not of type "boolean"'),
        ({"pick": "z"}, "pick", '"z" is not one of ["a","b"]'),
        ({"tags": [1]}, "tags/0", '1 is not of type "string"'),
        ({"tags": "a"}, "tags", '"a" is not of type "array"'),
        ({"either": []}, "either", "[] is not valid under any of the schemas listed in the 'anyOf' keyword"),
        ({"extra": {"a": "b"}}, "extra/a", '"b" is not of type "integer"'),
        ({"needy": {}}, "needy", '"a" is a required property'),
        ([], "__root__", '[] is not of type "object"'),
    ],
)
def test_bad(given: Any, where: str, message: str) -> None:
    expected = {"loc": ["body", "input", where], "msg": message, "type": "value_error"}
    assert expected in SCHEMA.problems(given), SCHEMA.problems(given)


def test_all_problems_at_once_and_missing_fields() -> None:
    schema = InputSchema(document({"a": {"type": "string"}, "b": {"type": "integer"}, "c": {}}, ("a", "c")))
    assert schema.problems({"b": "x"}) == [
        {"loc": ["body", "input", "a"], "msg": "Field required", "type": "value_error.missing"},
        {"loc": ["body", "input", "c"], "msg": "Field required", "type": "value_error.missing"},
        {"loc": ["body", "input", "b"], "msg": '"x" is not of type "integer"', "type": "value_error"},
    ]


def test_a_long_value_is_cut_in_the_message() -> None:
    (problem,) = InputSchema(document({"a": {"type": "integer"}})).problems({"a": "x" * 10_000_000})
    assert len(problem["msg"]) < 300


def test_unknown_keys_go_only_where_there_is_a_schema() -> None:
    assert SCHEMA.known({"prompt": "a", "other": 1}) == {"prompt": "a"}
    assert InputSchema({}).known({"other": 1}) == {"other": 1}
    assert InputSchema({}).problems({"other": 1}) == []


def test_a_malformed_pattern_is_not_the_clients_fault() -> None:
    assert InputSchema(document({"a": {"type": "string", "pattern": "("}})).problems({"a": "x"}) == []


def test_file_inputs_are_found() -> None:
    file = {"type": "string", "format": "uri"}
    schema = InputSchema(document({"one": file, "many": {"type": "array", "items": file}, "text": {"type": "string"}}))
    given = {"one": "data:,1", "many": ["data:,2", "x"], "text": "data:,3"}
    assert list(schema.files(given)) == [(["one"], "data:,1"), (["many", 0], "data:,2"), (["many", 1], "x")]


@pytest.mark.parametrize("mark", [{"format": "password"}, {"x-cog-secret": True}])
def test_secrets_are_hidden_wherever_they_are(mark: dict[str, Any]) -> None:
    secret = {"type": "string", **mark}
    properties = {
        "one": secret,
        "named": {"allOf": [{"type": "string"}], "$ref": "#/components/schemas/Key"},
        "many": {"type": "array", "items": secret},
        "references": {"type": "array", "items": {"$ref": "#/components/schemas/Key"}},
        "maybe": {"anyOf": [secret, {"type": "null"}]},
        "many_or_none": {"anyOf": [{"type": "array", "items": secret}, {"type": "null"}]},
        "none": {"nullable": True, **secret},
        "texts": {"type": "array", "items": {"type": "string"}},
    }
    given = {
        "one": "s", "named": "s", "many": ["s", "t", None], "references": ["s"], "maybe": "s", "many_or_none": ["s"],
        "none": None, "texts": ["plain"], "unknown": ["plain"],
    }  # fmt: skip
    hidden = "**********"
    assert InputSchema(document(properties, (), Key=secret)).shown(given) == {
        "one": hidden, "named": hidden, "many": [hidden, hidden, None], "references": [hidden], "maybe": hidden,
        "many_or_none": [hidden], "none": None, "texts": ["plain"], "unknown": ["plain"],
    }  # fmt: skip
