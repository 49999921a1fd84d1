"""Values that a source file states literally, evaluated without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from builder.schema.source import Module

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_MAX_BITS = 128


class NotLiteralError(ValueError):
    """An expression whose value the source alone does not tell."""


def evaluate(node: ast.expr, *, module: Module, depth: int = 20) -> Any:
    """The JSON-like value of an expression: constants, containers, names of such values, arithmetic on numbers.

    Tuples and sets are lists.  `NotLiteralError` for anything else.
    """
    if depth == 0:
        raise NotLiteralError

    def inner(part: ast.expr) -> Any:
        return evaluate(part, module=module, depth=depth - 1)

    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [inner(item) for item in items]
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            found = [inner(key) for key in keys if key is not None]
            if not all(isinstance(key, (str, int, float, bool)) for key in found):
                raise NotLiteralError
            return dict(zip(found, map(inner, values), strict=True))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _number(inner(operand))
            return -number if isinstance(sign, ast.USub) else number
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _added(inner(left), inner(right))
        case ast.BinOp(left=left, op=op, right=right):
            return _calculated(_number(inner(left)), op, _number(inner(right)))
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[argument], keywords=[]):
            return _members(argument, module=module, depth=depth)
        case ast.Name() | ast.Attribute():
            definition = module.definition(node)
            if definition and isinstance(definition.node, ast.expr):
                return evaluate(definition.node, module=definition.module, depth=depth - 1)
    raise NotLiteralError


def _members(node: ast.expr, *, module: Module, depth: int) -> list[Any]:
    """What `list(...)` makes of `D.keys()`, `D.values()`, `D` or another list."""
    method = ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args and not node.keywords:
        method, node = node.func.attr, node.func.value
    value = evaluate(node, module=module, depth=depth - 1)
    if isinstance(value, dict) and method in {"", "keys"}:
        return list(value)
    if isinstance(value, dict) and method == "values":
        return list(value.values())
    if isinstance(value, list) and not method:
        return value
    raise NotLiteralError


def _number(value: Any) -> int | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise NotLiteralError


def _added(left: Any, right: Any) -> Any:
    if (isinstance(left, str) and isinstance(right, str)) or (isinstance(left, list) and isinstance(right, list)):
        return left + right  # type: ignore[operator]
    return _number(left) + _number(right)


def _calculated(left: float, op: ast.operator, right: float) -> int | float:
    try:
        if isinstance(op, ast.Pow):
            if isinstance(left, int) and isinstance(right, int) and 0 <= right * left.bit_length() <= _MAX_BITS:
                return int(left**right)
        elif type(op) in _ARITHMETIC:
            result: int | float = _ARITHMETIC[type(op)](left, right)
            return result
    except ArithmeticError:
        pass
    raise NotLiteralError
