"""`-i name=value` to JSON, by schema and exactly."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from builder.engine.inputs import Files, check, for_training, has_inputs, parse, parse_json, require
from builder.errors import InputError


def schema(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """The part of a model's OpenAPI document that matters."""
    ordered = {name: {"x-order": n, **value} for n, (name, value) in enumerate(properties.items())}
    choices = {"title": "size", "description": "An enumeration.", "enum": ["small", "large"], "type": "string"}
    counts = {"title": "count", "enum": [1, 2], "type": "integer"}
    component = {"type": "object", "title": "Input", "properties": ordered, "required": list(required)}
    return {"components": {"schemas": {"Input": component, "size": choices, "count": counts}}}


STRING, INTEGER, NUMBER, BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))
HERE = Files(folder=Path("/"))
URI = {"type": "string", "format": "uri"}


def one(value: str, kind: dict[str, Any], folder: Path = Path("/")) -> Any:
    return parse([f"x={value}"], schema=schema(x=kind), files=Files(folder=folder))["x"]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("hello", STRING, "hello"),
        ("5", STRING, "5"),
        ("true", STRING, "true"),
        ("", STRING, ""),
        ("a=b=c", STRING, "a=b=c"),
        ('"quoted"', STRING, "quoted"),
        ('"', STRING, '"'),
        ('""', STRING, ""),
        ('"half', STRING, '"half'),
        ("5", INTEGER, 5),
        ("-5", INTEGER, -5),
        ("+5", INTEGER, 5),
        ("2147483648", INTEGER, 2147483648),
        ("9007199254740993", INTEGER, 9007199254740993),
        ("123456789012345678901234567890", INTEGER, 123456789012345678901234567890),
        ("5.0", INTEGER, "5.0"),
        ("5_000", INTEGER, "5_000"),
        ("٣", INTEGER, "٣"),
        ("x", INTEGER, "x"),
        ("0.1", NUMBER, 0.1),
        ("0.30000000000000004", NUMBER, 0.30000000000000004),
        ("1e-3", NUMBER, 0.001),
        ("5", NUMBER, 5),
        ("nan", NUMBER, "nan"),
        ("inf", NUMBER, "inf"),
        ("true", BOOLEAN, True),
        ("false", BOOLEAN, False),
        ("True", BOOLEAN, "True"),
        ("1", BOOLEAN, "1"),
        ('{"a": [1, null]}', {"type": "object"}, {"a": [1, None]}),
        ("{", {"type": "object"}, "{"),
        ('["a", "b"]', {"type": "array", "items": STRING}, ["a", "b"]),
        ("a", {"type": "array", "items": STRING}, ["a"]),
        ("7", {"type": "array", "items": INTEGER}, [7]),
        ("small", {"allOf": [{"$ref": "#/components/schemas/size"}]}, "small"),
        ("2", {"allOf": [{"$ref": "#/components/schemas/count"}]}, 2),
        ("5", {"anyOf": [STRING, INTEGER]}, 5),
        ("5", {"anyOf": [STRING, {"type": "integer", "minimum": 10}]}, "5"),
        ("true", {"anyOf": [INTEGER, BOOLEAN]}, True),
        ("1.5", {"anyOf": [INTEGER, NUMBER]}, 1.5),
    ],
)
def test_values(text: str, kind: dict[str, Any], value: Any) -> None:
    found = one(text, kind)
    assert found == value
    assert type(found) is type(value)


def test_repeated_names_make_an_array() -> None:
    made = schema(n={"type": "array", "items": INTEGER}, s=STRING)
    assert parse(["n=1", "s=a", "n=2"], schema=made, files=HERE) == {"n": [1, 2], "s": "a"}


def test_without_a_schema_all_is_text() -> None:
    assert parse(["a=1", "b=true", "b=2"], schema=None, files=HERE) == {"a": "1", "b": ["true", "2"]}


@pytest.mark.parametrize("item", ["x", "=x", ""])
def test_what_is_no_pair(item: str) -> None:
    with pytest.raises(InputError, match=f"Failed to parse input '{item}', expected format is 'name=value'"):
        parse([item], schema=None, files=HERE)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "odd").write_bytes(b"\0\xff")
    png = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    odd = "data:application/octet-stream;base64,AP8="
    monkeypatch.setenv("HOME", str(tmp_path))
    assert one("@a.png", URI, tmp_path) == png
    assert one(f"@{tmp_path}/odd", URI) == odd
    assert one("@~/odd", URI) == odd
    assert one("@a.png", {"type": "array", "items": URI}, tmp_path) == [png]
    made = schema(x={"type": "array", "items": URI})
    assert parse(["x=@a.png", "x=@odd"], schema=made, files=Files(folder=tmp_path)) == {"x": [png, odd]}
    with pytest.raises(InputError, match=r"could not read the file `.*none` for input `x`: no such file or directory"):
        one("@none", URI, tmp_path)


def test_json(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("hi")
    text = '{"a": 12345678901234567890, "f": "@f.txt", "deep": {"f": "@f.txt"}, "n": null}'
    assert parse_json(text, schema=None, files=Files(folder=tmp_path)) == {
        "a": 12345678901234567890,
        "f": "data:text/plain;base64,aGk=",
        "deep": {"f": "@f.txt"},
        "n": None,
    }
    for wrong in ("[1]", "{", "", "3", "[" * 100_000, "1" * 10_000):
        with pytest.raises(InputError, match="Failed to parse JSON"):
            parse_json(wrong, schema=None, files=HERE)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_has_not(number: str) -> None:
    with pytest.raises(InputError, match=f"^Failed to parse JSON: {number} is not a number"):
        parse_json(f'{{"a": [{number}]}}', schema=None, files=HERE)
    text = f'{{"a": {number}}}'
    assert one(text, {"type": "object"}) == text


BOUNDED = {"type": "integer", "minimum": 0, "maximum": 10}
TEXT = {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^a"}


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (INTEGER, "x", "expected integer, got string"),
        (INTEGER, True, "expected integer, got boolean"),
        (INTEGER, 5.5, "expected integer, got number"),
        (INTEGER, 5.0, None),
        (NUMBER, 5, None),
        (NUMBER, False, "expected number, got boolean"),
        (STRING, 5, "expected string, got integer"),
        (BOOLEAN, "yes", "expected boolean, got string"),
        ({"type": "object"}, [], "expected object, got array"),
        (BOUNDED, 11, "must be at most 10"),
        (BOUNDED, -1, "must be at least 0"),
        (BOUNDED, 10, None),
        ({"type": "number", "minimum": 0.5}, 0.25, "must be at least 0.5"),
        (TEXT, "a", "must be at least 2 characters long"),
        (TEXT, "abcde", "must be at most 4 characters long"),
        (TEXT, "ba", 'must match pattern "^a"'),
        (TEXT, "ab", None),
        ({"type": "string", "pattern": "(?<n>x)"}, "y", None),
        ({"allOf": [{"$ref": "#/components/schemas/size"}]}, "huge", "must be one of: small, large"),
        ({"allOf": [{"$ref": "#/components/schemas/count"}], "default": 1}, 3, "must be one of: 1, 2"),
        ({"allOf": [{"$ref": "#/components/schemas/count"}]}, True, "must be one of: 1, 2"),
        ({"type": "array", "items": INTEGER}, [1, "b"], "item 1: expected integer, got string"),
        ({"type": "array", "items": INTEGER}, [1, None], "item 1: must not be null"),
        ({"type": "array", "items": INTEGER | {"nullable": True}}, [1, None], None),
        ({"type": "array", "items": INTEGER | {"nullable": True}}, [None, "b"], "item 1: expected integer, got string"),
        ({"type": "array", "items": {}}, [1, None], None),
        ({"type": "array", "items": {"type": "array", "items": {"nullable": True}}}, [[None]], None),
        ({"anyOf": [INTEGER, STRING]}, 1.5, "expected integer or string, got number"),
        ({"anyOf": [INTEGER, STRING]}, "x", None),
        ({"type": "string", "nullable": True}, None, "must not be null"),
    ],
)
def test_checks(kind: dict[str, Any], value: Any, problem: str | None) -> None:
    if problem and problem.endswith("null"):
        problem += " (omit the input to use its default)"
    expected = [f'invalid input "x": {problem}'] if problem else []
    assert check({"x": value}, schema=schema(x=kind)) == expected


def test_names() -> None:
    made = schema(("a",), a=STRING, b=STRING)
    assert check({"b": "x"}, schema=made) == ['missing required input "a"']
    assert check({"a": "x", "c": 1}, schema=made) == ['unknown input "c"; valid inputs are: a, b']
    assert check({"a": "x", "c": 1, "d": 1}, schema=made) == ['unknown inputs "c", "d"; valid inputs are: a, b']
    assert check({"c": 1}, schema=schema()) == ['unknown input "c"; valid inputs are: none']
    assert check({"c": 1}, schema={}) == []


def test_one_error_for_all() -> None:
    made = schema(("a",), a=STRING, n=INTEGER)
    with pytest.raises(InputError) as problem:
        require({"n": "x"}, schema=made)
    assert problem.value.brief == "input validation failed:"
    assert problem.value.details == '- missing required input "a"\n- invalid input "n": expected integer, got string'
    with pytest.raises(InputError, match=r'^missing required input "a"'):
        require({}, schema=made)
    require({"a": "x"}, schema=made)


def test_a_training_has_inputs_of_its_own() -> None:
    both = schema(("a",), a=STRING)
    both["components"]["schemas"]["TrainingInput"] = schema(("b",), b=INTEGER)["components"]["schemas"]["Input"]
    both["components"]["schemas"]["TrainingOutput"] = {"title": "Output", "type": "string"}
    training = for_training(both)
    assert check({"b": 1}, schema=training) == []
    assert check({"a": "x"}, schema=training) == [
        'unknown input "a"; valid inputs are: b',
        'missing required input "b"',
    ]
    assert has_inputs(training)
    assert not has_inputs(for_training(schema(a=STRING)))  # a model that has no training
    assert not has_inputs(None)
