"""Inputs of a prediction: from `-i name=value` and JSON to what the server takes, checked by the model's schema."""

from __future__ import annotations

import base64
import json
import math
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from builder.errors import InputError
from builder.frozen import frozen

Schema: TypeAlias = Mapping[str, Any]
"""An OpenAPI document, or a part of one."""

LARGE = 8 * 1024 * 1024
"""Bytes from which a file goes by a URL of its own; a smaller one is part of the request."""

Send: TypeAlias = Callable[[Path], str]
"""Makes a URL at which the model can fetch a file that is too large for a data URL."""


@frozen
class Files:
    """Where files are looked for, and how large ones travel; with no `send` they are data URLs, too."""

    folder: Path
    send: Send | None = None

    def url(self, text: str, *, name: str, schema: Schema) -> str:
        """The file `text` (without its `@`) for the input `name`; only an input that is a file can have a large one."""
        path = self.folder / Path(text).expanduser()
        if self.send is not None and _takes_files(schema) and _size(path, name=name) >= LARGE:
            return self.send(path)
        return data_url(path, name=name)


def parse(items: Sequence[str], *, schema: Schema | None, files: Files) -> dict[str, Any]:
    """`name=value` pairs as the JSON object to send.

    `name=@path` gives a file by URL.  The same name twice makes an array.  Values become what the schema wants
    (exactly: integers of any size); with no schema they stay text.
    """
    values: dict[str, list[str]] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InputError(f"Failed to parse input '{item}', expected format is 'name=value'")
        values.setdefault(name, []).append(_unquoted(value))
    properties = input_properties(schema) if schema is not None else {}
    result: dict[str, Any] = {}
    for name, texts in values.items():
        wanted = properties.get(name, {})
        if len(texts) > 1:
            result[name] = [_convert(text, _items(wanted), files=files, name=name) for text in texts]
        else:
            result[name] = _convert(texts[0], wanted, files=files, name=name)
    return result


def parse_json(text: str, *, schema: Schema | None, files: Files) -> dict[str, Any]:
    """A JSON object as inputs; text values that begin with `@` name files."""
    try:
        data = _loaded(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"Failed to parse JSON: {problem}") from problem
    if not isinstance(data, dict):
        raise InputError("Failed to parse JSON: the inputs must be an object", hint='as in `{"name": "value"}`')
    properties = input_properties(schema) if schema is not None else {}
    return {
        name: files.url(value[1:], name=name, schema=properties.get(name, {}))
        if isinstance(value, str) and value.startswith("@")
        else value
        for name, value in data.items()
    }


def data_url(path: Path, *, name: str) -> str:
    """A file as a `data:` URL (RFC 2397), its type by extension."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise _unreadable(path, problem, name=name) from problem
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def for_training(schema: Schema) -> Schema:
    """The document with a training's inputs and output in the places of a prediction's."""
    components = schema.get("components") or {}
    schemas = dict(components.get("schemas") or {})
    for own, name in (("TrainingInput", "Input"), ("TrainingOutput", "Output")):
        schemas.pop(name, None)
        if own in schemas:
            schemas[name] = schemas[own]
    return {**schema, "components": {**components, "schemas": schemas}}


def has_inputs(schema: Schema | None) -> bool:
    """Whether the document says which inputs there are."""
    return "Input" in (((schema or {}).get("components") or {}).get("schemas") or {})


def input_properties(schema: Schema) -> dict[str, Schema]:
    """The inputs by name, references to choices resolved; in the order of the model's parameters."""
    schemas = (schema.get("components") or {}).get("schemas") or {}
    properties = (schemas.get("Input") or {}).get("properties") or {}
    resolved = {name: _resolve(value, schemas) for name, value in properties.items()}
    return dict(sorted(resolved.items(), key=lambda pair: pair[1].get("x-order", 0)))


def check(inputs: Mapping[str, Any], *, schema: Schema) -> list[str]:
    """Everything that the server would refuse, and unknown names, which it would silently drop."""
    schemas = (schema.get("components") or {}).get("schemas") or {}
    if "Input" not in schemas:
        return []
    properties = input_properties(schema)
    problems = []
    unknown = [name for name in inputs if name not in properties]
    valid = ", ".join(properties) or "none"
    if len(unknown) == 1:
        problems.append(f'unknown input "{unknown[0]}"; valid inputs are: {valid}')
    elif unknown:
        problems.append(f"unknown inputs {', '.join(json.dumps(name) for name in unknown)}; valid inputs are: {valid}")
    required = schemas["Input"].get("required") or ()
    problems += [f'missing required input "{name}"' for name in required if name not in inputs]
    for name, value in inputs.items():
        if name in properties:
            problems += [f'invalid input "{name}": {text}' for text in mismatches(value, properties[name])]
    return problems


def require(inputs: Mapping[str, Any], *, schema: Schema) -> None:
    """Raise one `InputError` with all that `check` finds."""
    problems = check(inputs, schema=schema)
    hint = "pass inputs with `-i name=value`, and files with an `@`: `-i image=@cat.jpg`"
    if len(problems) == 1:
        raise InputError(problems[0], hint=hint)
    if problems:
        raise InputError("input validation failed:", details="\n".join(f"- {text}" for text in problems), hint=hint)


def mismatches(value: Any, schema: Schema) -> list[str]:
    """What keeps `value` from fitting a JSON schema of the kinds that models have."""
    if value is None:
        return ["must not be null (omit the input to use its default)"]
    variants = schema.get("anyOf")
    if variants:
        if any(not mismatches(value, variant) for variant in variants):
            return []
        return [f"expected {' or '.join(str(v.get('type', 'any value')) for v in variants)}, got {type_name(value)}"]
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        return [f"must be one of: {', '.join(map(_shown, schema['enum']))}"]
    wanted = schema.get("type")
    if wanted and not _has_type(value, str(wanted)):
        return [f"expected {wanted}, got {type_name(value)}"]
    if isinstance(value, bool):
        return []
    if isinstance(value, (int, float)):
        return _range_problems(value, schema)
    if isinstance(value, str):
        return _text_problems(value, schema)
    if isinstance(value, list):
        items = schema.get("items") or {}
        nullable = not items or items.get("nullable") is True
        found = [(at, mismatches(item, items)) for at, item in enumerate(value) if item is not None or not nullable]
        return [f"item {at}: {text}" for at, texts in found for text in texts]
    return []


def type_name(value: Any) -> str:
    """JSON's name for the type of `value`."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _range_problems(value: float, schema: Schema) -> list[str]:
    problems = []
    if "minimum" in schema and value < schema["minimum"]:
        problems.append(f"must be at least {_shown(schema['minimum'])}")
    if "maximum" in schema and value > schema["maximum"]:
        problems.append(f"must be at most {_shown(schema['maximum'])}")
    return problems


def _text_problems(value: str, schema: Schema) -> list[str]:
    problems = []
    if len(value) < schema.get("minLength", 0):
        problems.append(f"must be at least {schema['minLength']} characters long")
    if len(value) > schema.get("maxLength", math.inf):
        problems.append(f"must be at most {schema['maxLength']} characters long")
    if "pattern" in schema:
        try:
            fits = re.search(schema["pattern"], value) is not None
        except re.error:
            fits = True  # another dialect: the server decides
        if not fits:
            problems.append(f'must match pattern "{schema["pattern"]}"')
    return problems


def _has_type(value: Any, wanted: str) -> bool:
    if wanted == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if wanted == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type_name(value) == wanted


def _same(value: Any, choice: Any) -> bool:
    return isinstance(value, bool) == isinstance(choice, bool) and bool(value == choice)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _resolve(schema: Schema, schemas: Schema) -> Schema:
    merged: dict[str, Any] = {}
    for part in schema.get("allOf") or ():
        name = str(part.get("$ref", "")).rpartition("/")[2]
        merged |= schemas.get(name) or {}
    return {**merged, **{key: value for key, value in schema.items() if key != "allOf"}}


def _items(schema: Schema) -> Schema:
    for variant in (schema, *(schema.get("anyOf") or ())):
        if variant.get("type") == "array":
            return variant.get("items") or {}
    return schema


def _types(schema: Schema) -> set[str]:
    return {str(part["type"]) for part in (schema, *(schema.get("anyOf") or ())) if "type" in part}


def _convert(text: str, schema: Schema, *, files: Files, name: str) -> Any:
    """One value as what the schema takes; a text that fits nothing stays text, and `check` says why it is refused."""
    types = _types(schema)
    if text.startswith("@"):
        found = files.url(text[1:], name=name, schema=schema)
        return [found] if types == {"array"} else found
    candidate = _candidate(text, types)
    if candidate is not None and ("string" not in types or not mismatches(candidate, schema)):
        return candidate
    if "array" in types and not types & {"string"}:
        parsed = _json(text)
        if isinstance(parsed, list):
            return parsed
        return [_convert(text, _items(schema), files=files, name=name)]
    if "object" in types and "string" not in types:
        parsed = _json(text)
        return text if parsed is None else parsed
    return text


def _candidate(text: str, types: set[str]) -> bool | float | None:
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    if types & {"integer", "number"} and re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        return int(text) if len(text) < 1000 else None
    if "number" in types:
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) and "_" not in text else None
    return None


def _loaded(text: str) -> Any:
    """JSON proper: `ValueError` for what Python reads besides, which no server takes."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that JSON can hold")
    return number


def _json(text: str) -> Any:
    try:
        return _loaded(text)
    except (ValueError, RecursionError):
        return None


def _takes_files(schema: Schema) -> bool:
    """Whether the input is a file, or a list of them: the server fetches those itself."""
    return "uri" in (schema.get("format"), _items(schema).get("format"))


def _size(path: Path, *, name: str) -> int:
    try:
        return path.stat().st_size
    except OSError as problem:
        raise _unreadable(path, problem, name=name) from problem


def _unreadable(path: Path, problem: OSError, *, name: str) -> InputError:
    why = (problem.strerror or "").lower()
    return InputError(f"could not read the file `{path}` for input `{name}`: {why}")
