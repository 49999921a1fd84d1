"""JSON values and OpenAPI 3.0 documents checked: a default must be a value that a request could give.

Knows JSON only, no Python source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mismatch(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Why `value` does not fit a schema of the kinds that models have (`is above 10`); None if it fits."""
    if value is None and schema.get("nullable"):
        return None
    variants = [part for part in _list(schema.get("anyOf")) if isinstance(part, dict)]
    if variants and all(mismatch(value, variant) for variant in variants):
        return "is of none of the types"
    wrong = _type_mismatch(value, schema.get("type"))
    if wrong is not None:
        return wrong
    if isinstance(schema.get("enum"), list) and not any(same(value, choice) for choice in schema["enum"]):
        return "is not one of the choices"
    if _is_number(value):
        return _number_mismatch(value, schema)
    if isinstance(value, str):
        return _text_mismatch(value, schema)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        found = (mismatch(item, schema["items"]) for item in value)
        return next((f"has a member that {wrong}" for wrong in found if wrong), None)
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def same(value: Any, other: Any) -> bool:
    """Equal as JSON: `1` is `1.0`, and `true` is not `1`."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


_NAMES = {
    "string": "a str",
    "integer": "an int",
    "number": "a float",
    "boolean": "a bool",
    "array": "a list",
    "object": "a dict",
}


def _type_mismatch(value: Any, wanted: Any) -> str | None:
    fits = {
        "string": isinstance(value, str),
        "integer": _is_number(value) and (isinstance(value, int) or value.is_integer()),
        "number": _is_number(value),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }.get(wanted if isinstance(wanted, str) else "", True)
    return None if fits else f"is not {_NAMES[wanted]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(schema: Mapping[str, Any], key: str) -> int | float | None:
    value = schema.get(key)
    return value if _is_number(value) else None


def _number_mismatch(value: float, schema: Mapping[str, Any]) -> str | None:
    least, most = _number(schema, "minimum"), _number(schema, "maximum")
    if least is not None and (value < least or (value == least and schema.get("exclusiveMinimum") is True)):
        return f"is below {least}"
    if most is not None and (value > most or (value == most and schema.get("exclusiveMaximum") is True)):
        return f"is above {most}"
    return None


def _text_mismatch(value: str, schema: Mapping[str, Any]) -> str | None:
    least, most, pattern = _number(schema, "minLength"), _number(schema, "maxLength"), schema.get("pattern")
    if least is not None and len(value) < least:
        return f"is shorter than {least} characters"
    if most is not None and len(value) > most:
        return f"is longer than {most} characters"
    if isinstance(pattern, str) and not _matches(pattern, value):
        return f"does not match {pattern}"
    return None


def _matches(pattern: str, value: str) -> bool:
    import re

    if _is_costly(pattern):
        return True
    try:
        return re.search(pattern, value) is not None
    except (re.error, OverflowError, RecursionError):
        return True  # another dialect of regular expressions


def _is_costly(pattern: str) -> bool:
    """Whether the pattern repeats a repetition, as `(a+)+b` does: matching it may take for ever."""
    import re

    return len(pattern) > 1000 or re.search(r"[+*}]\)*[+*{]|\([^()]*[+*][^()]*\)[+*{]", pattern) is not None
