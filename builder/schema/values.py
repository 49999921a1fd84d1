"""Values that have been read from a source: what JSON can hold of them, and arithmetic with bounds."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
BITS = 128
"""Longest integer that arithmetic may make."""


class NotLiteralError(ValueError):
    """An expression whose value the source alone does not tell."""


class Unknown:
    """The value of an expression that only running the code would tell."""


UNKNOWN = Unknown()


def plain(value: Any) -> Any:
    """A value as a JSON document holds it: texts as keys, and whole floats without a fraction, as upstream writes."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {_key(key): plain(item) for key, item in value.items()}
    return value


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return str(key)


def constant(value: Any) -> Any:
    """A constant of the source, if JSON has such a value."""
    if value is None or (isinstance(value, int) and value.bit_length() <= BITS):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value):
        return value
    raise NotLiteralError


def number(value: Any) -> int | float:
    """The value, if it is a number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise NotLiteralError


def hashable(value: Any) -> Any:
    """The value, if it can be a key."""
    if isinstance(value, (list, dict, Unknown)):
        raise NotLiteralError
    return value


def ordered(values: list[Any]) -> list[Any]:
    """All texts or all numbers, in order."""
    texts = all(isinstance(value, str) for value in values)
    return sorted(values if texts else map(number, values))


def formatted(value: Any) -> str:
    """A value in a text."""
    if isinstance(value, (str, bool, int, float)):
        return str(value)
    raise NotLiteralError


def signed(op: ast.unaryop, value: Any) -> Any:
    """A value after `-`, `+` or `not`."""
    match op:
        case ast.USub():
            return -number(value)
        case ast.UAdd():
            return number(value)
        case ast.Not() if isinstance(value, bool):
            return not value
    raise NotLiteralError


def item_at(holder: Any, key: Any) -> Any:
    """`holder[key]`."""
    try:
        if isinstance(holder, (list, str)) and type(key) is int:
            return holder[key]
        if isinstance(holder, dict) and holder[hashable(key)] is not UNKNOWN:
            return holder[key]
    except LookupError:
        pass
    raise NotLiteralError


def slice_of(holder: Any, bounds: list[Any]) -> Any:
    """`holder[lower:upper:step]`."""
    if isinstance(holder, (list, str)) and all(type(part) in (int, type(None)) for part in bounds) and bounds[2] != 0:
        return holder[slice(*bounds)]
    raise NotLiteralError


def arithmetic(left: float, op: ast.operator, right: float) -> int | float:
    """Two numbers to one, which has at most `BITS` bits."""
    result: int | float | complex
    try:
        match op:
            case ast.Add():
                result = left + right
            case ast.Pow() if isinstance(left, float) or isinstance(right, float) or right < 0:
                result = float(left) ** right
            case ast.Pow() if right * max(int(left).bit_length(), 1) <= BITS:
                result = left**right
            case ast.LShift() if isinstance(left, int) and isinstance(right, int) and 0 <= right <= BITS:
                result = left << right
            case ast.RShift() if isinstance(left, int) and isinstance(right, int) and 0 <= right <= BITS:
                result = left >> right
            case _ if type(op) in _OPERATORS:
                result = _OPERATORS[type(op)](left, right)
            case _:
                raise NotLiteralError
    except (ArithmeticError, TypeError) as problem:
        raise NotLiteralError from problem
    if isinstance(result, int) and result.bit_length() <= BITS:
        return result
    if isinstance(result, float) and math.isfinite(result):
        return result
    raise NotLiteralError
