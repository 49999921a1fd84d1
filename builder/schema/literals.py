"""Values that a source file states literally, evaluated without running it, in bounded time and memory."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from builder.schema.source import Definition, Module, base_names, member

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
_BITS = 128
"""Longest integer that arithmetic may make."""
_STEPS = 20_000
"""Most nodes and members that one value may take."""
_LETTERS = 100_000
"""Longest text."""
_DEPTH = 60
"""Deepest nesting, names followed included."""


class NotLiteralError(ValueError):
    """An expression whose value the source alone does not tell."""


class Unknown:
    """The value of an expression that only running the code would tell."""


UNKNOWN = Unknown()


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
                return _constant(value)
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
                return _signed(op, inner(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(inner(left), op, inner(right))
            case ast.JoinedStr(values=parts):
                return self._text("".join(map(_formatted, map(inner, parts))))
            case ast.FormattedValue(value=part, conversion=-1 | 115, format_spec=None):
                return _formatted(inner(part))
            case ast.Subscript(value=holder, slice=key):
                return _item(inner(holder), key if isinstance(key, ast.Slice) else inner(key))
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
        return _arithmetic(_number(left), op, _number(right))

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
                return list(dict.fromkeys(map(_hashable, self._members(value))))
            case "sorted", [value]:
                return _ordered(self._members(value))
            case "len", [str() | list() | dict() as value]:
                return len(value)
            case "next", [[first, *_]]:
                return first
            case (("min" | "max"), [list() as values]) if values:
                found = _ordered(values)
                return found[0] if name == "min" else found[-1]
            case (("min" | "max"), [_, _, *_]):
                return self._function(name, [given])
            case "str", [str() | bool() | int() | float() as value]:
                return str(value)
            case "int", [bool() | int() | float() as value]:
                return int(value)
            case "float", [bool() | int() as value] if abs(value) < 2**_BITS:
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


def _constant(value: Any) -> Any:
    if value is None or (isinstance(value, int) and value.bit_length() <= _BITS):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value):
        return value
    raise NotLiteralError


def _number(value: Any) -> int | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise NotLiteralError


def _hashable(value: Any) -> Any:
    if isinstance(value, (list, dict, Unknown)):
        raise NotLiteralError
    return value


def _ordered(values: list[Any]) -> list[Any]:
    texts = all(isinstance(value, str) for value in values)
    return sorted(values if texts else map(_number, values))


def _formatted(value: Any) -> str:
    if isinstance(value, (str, bool, int, float)):
        return str(value)
    raise NotLiteralError


def _signed(op: ast.unaryop, value: Any) -> Any:
    match op:
        case ast.USub():
            return -_number(value)
        case ast.UAdd():
            return _number(value)
        case ast.Not() if isinstance(value, bool):
            return not value
    raise NotLiteralError


def _item(holder: Any, key: Any) -> Any:
    try:
        if isinstance(holder, (list, str)) and type(key) is int:
            return holder[key]
        if isinstance(holder, dict) and holder[_hashable(key)] is not UNKNOWN:
            return holder[key]
    except LookupError:
        pass
    raise NotLiteralError


def _arithmetic(left: float, op: ast.operator, right: float) -> int | float:
    result: int | float | complex
    try:
        match op:
            case ast.Add():
                result = left + right
            case ast.Pow() if isinstance(left, float) or isinstance(right, float) or right < 0:
                result = float(left) ** right
            case ast.Pow() if right * max(int(left).bit_length(), 1) <= _BITS:
                result = left**right
            case ast.LShift() if isinstance(left, int) and isinstance(right, int) and 0 <= right <= _BITS:
                result = left << right
            case ast.RShift() if isinstance(left, int) and isinstance(right, int) and 0 <= right <= _BITS:
                result = left >> right
            case _ if type(op) in _OPERATORS:
                result = _OPERATORS[type(op)](left, right)
            case _:
                raise NotLiteralError
    except (ArithmeticError, TypeError) as problem:
        raise NotLiteralError from problem
    if isinstance(result, int) and result.bit_length() <= _BITS:
        return result
    if isinstance(result, float) and math.isfinite(result):
        return result
    raise NotLiteralError
