"""Values that a source file states literally, evaluated without running it, in bounded time and memory."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from builder.schema.source import Definition, Module, base_names, member
from builder.schema.values import (
    BITS,
    UNKNOWN,
    NotLiteralError,
    arithmetic,
    constant,
    formatted,
    hashable,
    item_at,
    number,
    ordered,
    signed,
    slice_of,
)

_STEPS = 20_000
"""Most nodes and members that one value may take."""
_LETTERS = 100_000
"""Longest text."""
_DEPTH = 60
"""Deepest nesting, names followed included."""


def evaluate(node: ast.expr, *, module: Module, names: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression: constants, displays, names of such values, arithmetic, a few pure functions.

    Tuples and sets are lists.  `names` holds what is known of local names.  `NotLiteralError` for anything else.
    """
    value = _Evaluation().value(node, module, names or {}, _DEPTH)
    _size(value, limit=_STEPS)
    return value


def _size(value: Any, *, limit: int) -> int:
    """How many values a value holds; `NotLiteralError` if one is unknown, or they are more than `limit`."""
    if value is UNKNOWN or limit <= 0:
        raise NotLiteralError
    count = 1
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        count += _size(item, limit=limit - count)
    return count


def known(node: ast.expr, *, module: Module, names: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression, or `UNKNOWN`."""
    try:
        return evaluate(node, module=module, names=names)
    except NotLiteralError:
        return UNKNOWN


def unpacked(node: ast.expr, *, module: Module, names: Mapping[str, Any] | None = None) -> dict[Any, Any] | None:
    """What `**node` gives, a value that the source does not tell as `UNKNOWN`; None if not even the keys are told."""
    try:
        value = _Evaluation().value(node, module, names or {}, _DEPTH)
        for item in value.values() if isinstance(value, dict) else ():
            if item is not UNKNOWN:
                _size(item, limit=_STEPS)
    except NotLiteralError:
        return None
    return value if isinstance(value, dict) else None


class _Evaluation:
    """One expression; counts its steps."""

    def __init__(self) -> None:
        self._left = _STEPS

    def value(self, node: ast.expr, module: Module, names: Mapping[str, Any], depth: int) -> Any:
        """The value of `node`."""
        self._spend(1)
        if depth <= 0:
            raise NotLiteralError

        def inner(part: ast.expr) -> Any:
            return self.value(part, module, names, depth - 1)

        match node:
            case ast.Constant(value=value):
                return constant(value)
            case ast.Name(id=name) if name in names:
                if names[name] is UNKNOWN:
                    raise NotLiteralError
                return names[name]
            case ast.Name(id=name):
                return self._defined(module.constant(name), depth)
            case ast.List() | ast.Tuple() | ast.Set():
                return self._list(node.elts, inner)
            case ast.Dict():
                return self._dict(node, inner)
            case ast.UnaryOp(op=op, operand=operand):
                return signed(op, inner(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(inner(left), op, inner(right))
            case ast.JoinedStr(values=parts):
                return self._text("".join(map(formatted, map(inner, parts))))
            case ast.FormattedValue(value=part, conversion=-1 | 115, format_spec=None):
                return formatted(inner(part))
            case ast.Subscript(value=holder, slice=ast.Slice(lower=lower, upper=upper, step=step)):
                bounds = [None if part is None else inner(part) for part in (lower, upper, step)]
                return slice_of(inner(holder), bounds)
            case ast.Subscript(value=holder, slice=key):
                return item_at(inner(holder), inner(key))
            case ast.Attribute(value=holder, attr=attr):
                owner = module.resolve(holder)
                if isinstance(owner, Module):
                    return self._defined(owner.constant(attr), depth)
                if attr == "value" and isinstance(owner, Definition) and isinstance(owner.node, ast.expr):
                    return self._defined(owner, depth)  # of a member of an enumeration
                found = member(owner, attr) if isinstance(owner, Definition) else None
                return self._defined(found, depth)
            case ast.Call():
                return self._call(node, module, names, depth)
            case ast.ListComp(elt=elt, generators=[generator]) | ast.GeneratorExp(elt=elt, generators=[generator]):
                return self._comprehension(elt, generator, module, names, depth)
        raise NotLiteralError

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise NotLiteralError

    def _text(self, text: str) -> str:
        if len(text) > _LETTERS:
            raise NotLiteralError
        self._spend(len(text) // 100)
        return text

    def _defined(self, definition: Definition | None, depth: int) -> Any:
        if definition is None or not isinstance(definition.node, ast.expr):
            raise NotLiteralError
        return self.value(definition.node, definition.module, {}, depth - 1)

    def _list(self, items: Iterable[ast.expr], inner: Callable[[ast.expr], Any]) -> list[Any]:
        made: list[Any] = []
        for item in items:
            if isinstance(item, ast.Starred):
                made += self._members(inner(item.value))
            else:
                made.append(inner(item))
        return made

    def _dict(self, node: ast.Dict, inner: Callable[[ast.expr], Any]) -> dict[Any, Any]:
        """Values that only running the code would tell stay unknown: the keys may be all that is asked for."""
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                more = inner(value)
                if not isinstance(more, dict):
                    raise NotLiteralError
                self._spend(len(more))
                made |= more
                continue
            name = inner(key)
            if isinstance(name, (list, dict)):
                raise NotLiteralError
            try:
                made[name] = inner(value)
            except NotLiteralError:
                made[name] = UNKNOWN
        return made

    def _members(self, value: Any) -> list[Any]:
        if not isinstance(value, (list, dict)):
            raise NotLiteralError
        self._spend(len(value))
        return list(value)

    def _binary(self, left: Any, op: ast.operator, right: Any) -> Any:
        if isinstance(op, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return self._text(left + right)
        if isinstance(op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return self._members(left) + self._members(right)
        if isinstance(op, ast.BitOr) and isinstance(left, dict) and isinstance(right, dict):
            return left | right
        if isinstance(op, ast.Mult) and isinstance(left, (str, list)) and isinstance(right, int):
            self._spend(len(left) * max(right, 0))
            return left * right
        return arithmetic(number(left), op, number(right))

    def _call(self, node: ast.Call, module: Module, names: Mapping[str, Any], depth: int) -> Any:
        """The pure functions that lists of choices and descriptions are made with."""

        def inner(part: ast.expr) -> Any:
            return self.value(part, module, names, depth - 1)

        match node:
            case ast.Call(func=ast.Name(id="dict"), args=args, keywords=keywords) if len(args) <= 1:
                keys = [ast.Constant(word.arg) if word.arg else None for word in keywords]
                values = [*args, *(word.value for word in keywords)]
                whole = ast.Dict(keys=[*([None] * len(args)), *keys], values=values)
                return self._dict(whole, inner)
            case ast.Call(func=ast.Attribute(value=holder, attr=attr), args=[], keywords=[]):
                value = inner(holder)
                if isinstance(value, dict) and attr in {"keys", "values"}:
                    return self._members(value) if attr == "keys" else list(value.values())
                if isinstance(value, str) and attr in {"strip", "lower", "upper", "title"}:
                    return getattr(value, attr)()
            case ast.Call(func=ast.Attribute(value=holder, attr="join"), args=[parts], keywords=[]):
                glue, pieces = inner(holder), inner(parts)
                if isinstance(glue, str) and all(isinstance(piece, str) for piece in self._members(pieces)):
                    return self._text(glue.join(pieces))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if args:
                return self._function(name, [inner(part) for part in args])
        raise NotLiteralError

    def _function(self, name: str, given: list[Any]) -> Any:
        match name, given:
            case "range", _ if len(given) <= 3 and all(type(part) is int for part in given) and 0 not in given[2:]:
                numbers = range(*given)
                self._spend(min(len(numbers), _STEPS + 1) if max(map(abs, given)) < 2**62 else _STEPS + 1)
                return list(numbers)
            case "list" | "tuple" | "iter", [value]:
                return self._members(value)
            case (("set" | "frozenset"), [value]):
                return list(dict.fromkeys(map(hashable, self._members(value))))
            case "sorted", [value]:
                return ordered(self._members(value))
            case "len", [str() | list() | dict() as value]:
                return len(value)
            case "next", [[first, *_]]:
                return first
            case (("min" | "max"), [list() as values]) if values:
                found = ordered(values)
                return found[0] if name == "min" else found[-1]
            case (("min" | "max"), [_, _, *_]):
                return self._function(name, [given])
            case "str", [str() | bool() | int() | float() as value]:
                return str(value)
            case "int", [bool() | int() | float() as value]:
                return int(value)
            case "float", [bool() | int() as value] if abs(value) < 2**BITS:
                return float(value)
            case "float", [float() as value]:
                return value
        raise NotLiteralError

    def _comprehension(
        self, elt: ast.expr, generator: ast.comprehension, module: Module, names: Mapping[str, Any], depth: int
    ) -> list[Any]:
        if not isinstance(generator.target, ast.Name) or generator.ifs or generator.is_async:
            raise NotLiteralError
        name = generator.target.id
        listed = module.definition(generator.iter)
        if listed is not None and isinstance(listed.node, ast.ClassDef):
            match elt:
                case ast.Attribute(value=ast.Name(id=used), attr="value" | "name" as attr) if used == name:
                    found = enumeration(listed)
                    return [self._defined(value, depth) if attr == "value" else key for key, value in found.items()]
            raise NotLiteralError
        items = self._members(self.value(generator.iter, module, names, depth - 1))
        return [self.value(elt, module, {**names, name: item}, depth - 1) for item in items]


def enumeration(definition: Definition) -> dict[str, Definition]:
    """The members of an `enum.Enum` class of the project; none if it is no such class."""
    if not base_names(definition) & {"Enum", "StrEnum", "IntEnum"}:
        return {}
    assert isinstance(definition.node, ast.ClassDef)
    found = {}
    for statement in definition.node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if not name.startswith("_"):
                found[name] = Definition(definition.module, value)
    return found
