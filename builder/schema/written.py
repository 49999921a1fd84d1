"""OpenAPI documents that a person wrote: read, and checked against what OpenAPI 3.0 and Cog's clients need.

https://spec.openapis.org/oas/v3.0.3 ; knows JSON only, no Python source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from builder.errors import SchemaError
from builder.schema.check import mismatch

Found: TypeAlias = Iterator[tuple[str, str]]
"""Where, as a path of keys, and what is wrong there."""

_SHOWN = 20
"""Most problems that are listed."""
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_TYPES = ("string", "integer", "number", "boolean", "array", "object")
_BOOLEANS = ("nullable", "readOnly", "writeOnly", "deprecated", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_NUMBERS = ("minimum", "maximum", "multipleOf")
_TEXTS = ("title", "description", "pattern", "format")


def load(path: Path, *, check: bool) -> dict[str, Any]:
    """The document in the file at `path`; see `builder.schema.load`."""
    try:
        document = json.loads(path.read_bytes(), parse_constant=_no_number)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise SchemaError(
            f"failed to read {path}: {reason}", hint="name a file with the OpenAPI document of the model, as JSON"
        ) from problem
    except json.JSONDecodeError as problem:
        raise SchemaError(
            f"Model schema is invalid: `{path}` is no JSON: {problem.msg.lower()}",
            details=f"{path}:{problem.lineno}:{problem.colno}",
            hint="`cogsmith schema` prints a document to start from",
        ) from problem
    except (ValueError, RecursionError) as problem:
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        raise SchemaError(f"Model schema is invalid: `{path}` is no JSON: {reason}") from problem
    if not isinstance(document, dict):
        raise SchemaError(f"Model schema is invalid: `{path}` holds no object")
    if check:
        validate(document)
    return document


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def validate(document: Mapping[str, Any]) -> None:
    """`SchemaError` with everything that keeps `document` from being OpenAPI 3.0."""
    try:
        found = list(_document(document))
    except RecursionError:
        found = [("", "it is nested too deeply")]
    if not found:
        return
    lines = [f"{where}: {what}" if where else what for where, what in found]
    details = "\n".join(lines[:_SHOWN]) if len(lines) > 1 else None
    if details and len(lines) > _SHOWN:
        details += f"\nand {len(lines) - _SHOWN} more"
    raise SchemaError(
        f"Model schema is invalid: {lines[0]}",
        details=details,
        hint="correct the document; `--skip-schema-validation` builds with it as it is",
    )


def _document(document: Mapping[str, Any]) -> Found:
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith("3.0"):
        yield "openapi", f"must be 3.0.x, not {_shown(version)}"
    info = document.get("info")
    if not isinstance(info, dict):
        yield "info", "must be an object with a title and a version"
    else:
        yield from ((f"info.{key}", "must be a string") for key in ("title", "version") if not _text(info.get(key)))
    components = document.get("components", {})
    schemas = components.get("schemas", {}) if isinstance(components, dict) else None
    if not isinstance(schemas, dict):
        yield "components.schemas", "must be an object"
    else:
        for name, schema in schemas.items():
            where = f"components.schemas.{name}"
            if not re.fullmatch(r"[a-zA-Z0-9._-]+", name):
                yield where, "the name of a component may have only letters, digits, `.`, `_` and `-`"
            yield from _schema(schema, where, document)
    paths = document.get("paths")
    if not isinstance(paths, dict):
        yield "paths", "must be an object"
        return
    for path, item in paths.items():
        yield from _path(path, item, document)


def _path(path: str, item: Any, document: Mapping[str, Any]) -> Found:
    where = f"paths.{path}"
    if not path.startswith("/"):
        yield where, "must begin with `/`"
    if not isinstance(item, dict):
        yield where, "must be an object"
        return
    shared = item.get("parameters", [])
    for method in _METHODS:
        if method in item:
            yield from _operation(item[method], f"{where}.{method}", document, path=path, shared=shared)


def _operation(operation: Any, where: str, document: Mapping[str, Any], *, path: str, shared: Any) -> Found:
    if not isinstance(operation, dict):
        yield where, "must be an object"
        return
    parameters = operation.get("parameters", [])
    if not isinstance(parameters, list) or not isinstance(shared, list):
        yield f"{where}.parameters", "must be a list"
        return
    named = set()
    for index, given in enumerate([*shared, *parameters]):
        parameter = _resolve(given, document)
        yield from _parameter(parameter, f"{where}.parameters.{index}", document)
        if isinstance(parameter, dict) and parameter.get("in") == "path":
            named.add(parameter.get("name"))
    for name in re.findall(r"{([^}]*)}", path):
        if name not in named:
            yield f"{where}.parameters", f"must describe `{name}`, which is part of the path"
    body = _resolve(operation.get("requestBody"), document)
    if body is not None:
        yield from _content(body, f"{where}.requestBody", document, needed=True)
    responses = operation.get("responses")
    if not isinstance(responses, dict) or not responses:
        yield f"{where}.responses", "must be an object with at least one response"
        return
    for status, given in responses.items():
        response = _resolve(given, document)
        if not isinstance(response, dict) or not _text(response.get("description")):
            yield f"{where}.responses.{status}", "must be an object with a description"
        else:
            yield from _content(response, f"{where}.responses.{status}", document, needed=False)


def _parameter(parameter: Any, where: str, document: Mapping[str, Any]) -> Found:
    if not isinstance(parameter, dict) or not _text(parameter.get("name")):
        yield where, "must be an object with a name"
        return
    if parameter.get("in") not in ("path", "query", "header", "cookie"):
        yield f"{where}.in", "must be path, query, header or cookie"
    if parameter.get("in") == "path" and parameter.get("required") is not True:
        yield f"{where}.required", "must be true for a parameter of the path"
    if "schema" in parameter:
        yield from _schema(parameter["schema"], f"{where}.schema", document)


def _content(holder: Any, where: str, document: Mapping[str, Any], *, needed: bool) -> Found:
    content = holder.get("content") if isinstance(holder, dict) else None
    if content is None and isinstance(holder, dict) and not needed:
        return
    if not isinstance(content, dict):
        yield f"{where}.content", "must be an object"
        return
    for kind, media in content.items():
        if not isinstance(media, dict):
            yield f"{where}.content.{kind}", "must be an object"
        elif "schema" in media:
            yield from _schema(media["schema"], f"{where}.content.{kind}.schema", document)


def _schema(schema: Any, where: str, document: Mapping[str, Any]) -> Found:
    if not isinstance(schema, dict):
        yield where, "must be an object"
        return
    if "$ref" in schema:
        if _resolve(schema, document) is None:
            yield f"{where}.$ref", f"{_shown(schema['$ref'])} is nothing in this document"
        return
    kind = schema.get("type")
    if kind is not None and kind not in _TYPES:
        yield f"{where}.type", f"must be one of {', '.join(_TYPES)}, not {_shown(kind)}"
    if kind == "array" and "items" not in schema:
        yield f"{where}.items", "must say what the array holds"
    for keys, fits, wanted in _KEYWORDS:
        yield from ((f"{where}.{key}", f"must be {wanted}") for key in keys if key in schema and not fits(schema[key]))
    for key in ("allOf", "anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            for index, part in enumerate(schema[key]):
                yield from _schema(part, f"{where}.{key}.{index}", document)
    if isinstance(schema.get("properties"), dict):
        for name, part in schema["properties"].items():
            yield from _schema(part, f"{where}.properties.{name}", document)
    for key in ("items", "not"):
        if key in schema:
            yield from _schema(schema[key], f"{where}.{key}", document)
    if "additionalProperties" in schema and not isinstance(schema["additionalProperties"], bool):
        yield from _schema(schema["additionalProperties"], f"{where}.additionalProperties", document)
    if "default" in schema:
        wrong = mismatch(schema["default"], _whole(schema, document))
        if wrong:
            yield f"{where}.default", f"{_shown(schema['default'])} {wrong}"


def _whole(schema: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with what its `allOf` says, references followed."""
    merged: dict[str, Any] = {}
    parts = schema.get("allOf")
    for part in parts if isinstance(parts, list) else []:
        found = _resolve(part, document)
        merged |= found if isinstance(found, dict) else {}
    merged |= schema
    variants = merged.get("anyOf")
    if isinstance(variants, list):
        found = [_resolve(part, document) for part in variants]
        merged["anyOf"] = [part for part in found if isinstance(part, dict)]
    if isinstance(merged.get("items"), dict):
        merged["items"] = _resolve(merged["items"], document) or {}
    return merged


def _resolve(value: Any, document: Mapping[str, Any]) -> Any:
    """What a reference leads to, None if it leads nowhere in this document; anything else is itself."""
    for _ in range(20):
        if not isinstance(value, dict) or "$ref" not in value:
            return value
        reference = value["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        value = document
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            value = value.get(name) if isinstance(value, dict) else None
    return None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value)) and len(set(value)) == len(value)


_KEYWORDS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (_BOOLEANS, lambda value: isinstance(value, bool), "true or false"),
    (_COUNTS, lambda value: type(value) is int and value >= 0, "a whole number, and not negative"),
    (_NUMBERS, lambda value: type(value) in (int, float), "a number"),
    (_TEXTS, _text, "a string"),
    (("required",), _names, "a list of different names"),
    (("properties",), lambda value: isinstance(value, dict), "an object"),
    (("enum",), lambda value: isinstance(value, list) and bool(value), "a list of at least one value"),
    (("allOf", "anyOf", "oneOf"), lambda value: isinstance(value, list) and bool(value), "a list of schemas"),
)
