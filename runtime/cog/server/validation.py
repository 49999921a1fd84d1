"""Checks an input against the model's schema, with the messages that Cog's clients know.  Standard library only.

The keywords are those that Cog's schemas use (OpenAPI 3.0, so `nullable` counts) and the plain ones of JSON Schema that
a hand-written document may add.  Others are ignored, as JSON Schema wants it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, Iterator, List, Tuple

Problem = Tuple[Tuple[str, ...], str]
"""Where (keys from the input downwards) and what."""

SHOWN = 200
"""Longest value, in characters, that a message repeats."""

HIDDEN = "**********"

_TYPES: Dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": lambda value: _is_number(value),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}


_PLAIN: Dict[str, Tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
}

_REMARKS = frozenset(("type", "title", "description", "default", "x-order", "deprecated", "nullable", "format"))
"""Keywords that ask for nothing but a type.  `format` is for those who read."""


class InputSchema:
    """The schema `name` (`Input` or `TrainingInput`) of an OpenAPI document."""

    def __init__(self, document: Dict[str, Any], *, name: str = "Input") -> None:
        self._document = document
        schemas = document.get("components", {}).get("schemas", {})
        self.present = name in schemas
        self._schema: Dict[str, Any] = schemas.get(name, {})
        self.properties: Dict[str, Any] = self._schema.get("properties", {})
        self._required = frozenset(self._schema.get("required", ()))
        self._plain = {name: kinds for name, kinds in map(self._plainly, self.properties) if kinds}
        self._simple = self._schema.keys() <= {"properties", "required", "title", "type", "description"}
        self._holds_files = [name for name in self.properties if any(self._file_schemas(name))]

    def known(self, given: Dict[str, Any]) -> Dict[str, Any]:
        """The input without keys that the schema does not have."""
        if not self.present:
            return given
        return {name: value for name, value in given.items() if name in self.properties}

    def problems(self, given: Any) -> List[Dict[str, Any]]:
        """Everything wrong with an input, as the `detail` of a 422 answer."""
        if self._obviously_right(given):
            return []
        detail = []
        for path, message in self._check(given, self._schema, ()):
            missing = message == _MISSING
            where = "/".join(path) or "__root__"
            kind = "value_error.missing" if missing else "value_error"
            text = message
            if missing and len(path) > 1:
                where, text, kind = "/".join(path[:-1]), f'"{path[-1]}" is a required property', "value_error"
            detail.append({"loc": ["body", "input", where], "msg": text, "type": kind})
        return detail

    def files(self, given: Dict[str, Any]) -> Iterator[Tuple[List[Any], str]]:
        """The strings of an input that stand for files, with their positions."""
        for name in self._holds_files:
            value = given.get(name)
            one, many = self._file_schemas(name)
            if isinstance(value, str) and one:
                yield [name], value
            elif isinstance(value, list) and many:
                yield from (([name, index], item) for index, item in enumerate(value) if isinstance(item, str))

    def _file_schemas(self, name: str) -> Tuple[bool, bool]:
        """Whether a property may be a file, and whether it may be a list of files."""
        schema = self._resolve(self.properties[name])
        return schema.get("format") == "uri", self._resolve(schema.get("items", {})).get("format") == "uri"

    def _obviously_right(self, given: Any) -> bool:
        """Nothing missing, and all of properties that ask for a type and no more: the usual case, seen quickly."""
        if type(given) is not dict or not self._required <= given.keys() or not self._simple:
            return False
        plain = self._plain
        return all(name in plain and type(value) in plain[name] for name, value in given.items())

    def _plainly(self, name: str) -> Tuple[str, Tuple[type, ...]]:
        schema = self.properties[name]
        if not isinstance(schema, dict) or not isinstance(schema.get("type"), str) or not schema.keys() <= _REMARKS:
            return name, ()
        return name, _PLAIN.get(schema["type"], ())

    def shown(self, given: Any) -> Any:
        """The input as others may see it: secrets hidden."""
        if not isinstance(given, dict):
            return given
        return {name: _hidden(value) if self._secret(name) else value for name, value in given.items()}

    def _secret(self, name: str) -> bool:
        """Whether a property is a secret, a list of them, or may be one."""
        whole = self._resolve(self.properties.get(name, {}))
        options = [self._resolve(option) for option in whole.get("anyOf") or ()]
        schemas = [whole, *options, *(self._resolve(one.get("items", {})) for one in (whole, *options))]
        return any(bool(one.get("x-cog-secret")) or one.get("format") == "password" for one in schemas)

    def _resolve(self, schema: Any) -> Dict[str, Any]:
        for _ in range(16):
            reference = schema.get("$ref") if isinstance(schema, dict) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            schema = self._document
            for part in reference[2:].split("/"):
                schema = schema.get(part.replace("~1", "/").replace("~0", "~"), {})
        return schema if isinstance(schema, dict) else {}

    def _check(self, value: Any, schema: Any, path: Tuple[str, ...]) -> Iterator[Problem]:
        schema = self._resolve(schema)
        if value is None and schema.get("nullable"):
            return
        yield from ((path, text) for text in _plain_problems(value, schema))
        for part in schema.get("allOf", ()):
            yield from self._check(value, part, path)
        for keyword in ("anyOf", "oneOf"):
            options = schema.get(keyword)
            if options and not any(not list(self._check(value, option, path)) for option in options):
                yield path, f"{show(value)} is not valid under any of the schemas listed in the '{keyword}' keyword"
        if isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                yield from self._check(item, schema["items"], (*path, str(index)))
        if isinstance(value, dict):
            yield from self._check_object(value, schema, path)

    def _check_object(self, value: Dict[str, Any], schema: Dict[str, Any], path: Tuple[str, ...]) -> Iterator[Problem]:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield (*path, name), _MISSING
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in properties:
                yield from self._check(item, properties[name], (*path, name))
            elif others is False:
                yield path, f'Additional properties are not allowed ("{name}" was unexpected)'
            elif isinstance(others, dict):
                yield from self._check(item, others, (*path, name))


_MISSING = "Field required"


def show(value: Any) -> str:
    """A value as messages show it: compact JSON, cut when it is long."""
    if isinstance(value, str) and len(value) > SHOWN:
        value = value[:SHOWN] + "..."
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= SHOWN + 10 else text[:SHOWN] + "..."


def _hidden(value: Any) -> Any:
    """What is shown of a secret or of a list of them."""
    if isinstance(value, list):
        return [item if item is None else HIDDEN for item in value]
    return value if value is None else HIDDEN


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain_problems(value: Any, schema: Dict[str, Any]) -> Iterator[str]:
    """The keywords that look at the value alone."""
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else (wanted or [])
    if names and not any(_TYPES.get(name, lambda _: True)(value) for name in names):
        yield f"{show(value)} is not of type {', '.join(show(name) for name in names)}"
        return
    if "enum" in schema and not any(_same(value, option) for option in schema["enum"]):
        yield f"{show(value)} is not one of {show(schema['enum'])}"
    if _is_number(value):
        yield from _number_problems(value, schema)
    elif isinstance(value, str):
        yield from _string_problems(value, schema)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{show(value)} has less than {_count(schema['minItems'], 'item')}"
        if "maxItems" in schema and len(value) > schema["maxItems"]:
            yield f"{show(value)} has more than {_count(schema['maxItems'], 'item')}"


def _number_problems(value: Any, schema: Dict[str, Any]) -> Iterator[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None:
        if schema.get("exclusiveMinimum") is True and value == least:
            yield f"{show(value)} is less than or equal to the minimum of {show(least)}"
        elif value < least:
            yield f"{show(value)} is less than the minimum of {show(least)}"
    if most is not None:
        if schema.get("exclusiveMaximum") is True and value == most:
            yield f"{show(value)} is greater than or equal to the maximum of {show(most)}"
        elif value > most:
            yield f"{show(value)} is greater than the maximum of {show(most)}"
    step = schema.get("multipleOf")
    if step and not _is_multiple(value, step):
        yield f"{show(value)} is not a multiple of {show(step)}"


def _is_multiple(value: Any, step: Any) -> bool:
    """As decimal numbers: 0.3 is a multiple of 0.1."""
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    from fractions import Fraction

    return (Fraction(repr(value)) / Fraction(repr(step))).denominator == 1


def _string_problems(value: str, schema: Dict[str, Any]) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{show(value)} is shorter than {_count(schema['minLength'], 'character')}"
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield f"{show(value)} is longer than {_count(schema['maxLength'], 'character')}"
    pattern = schema.get("pattern")
    if pattern is not None:
        try:
            found = re.search(pattern, value)
        except re.error:  # the model's own mistake; nothing a client could do
            return
        if not found:
            yield f"{show(value)} does not match {show(pattern)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
