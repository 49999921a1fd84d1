"""Frozen dataclasses ↔ TOML tables, checked by their type hints.  Knows no field of the lock by name.

Keys are the field names with `-` for `_`; fields that have their default are left out.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from builder.errors import LockError

T = TypeVar("T")


def malformed(where: str, what: str) -> LockError:
    """The error for a lock file with something wrong at the dotted path `where`."""
    return LockError(
        "the lock file is malformed", details=f"{where}: {what}", hint="make it again with `cogsmith lock`"
    )


def table(value: Any) -> dict[str, Any]:
    """A dataclass as a TOML table."""
    found = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item != field.default:
            found[_key(field.name)] = _plain(item)
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return table(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def read(kind: type[T], data: Any, *, where: str) -> T:
    """The dataclass `kind` from a TOML table; `LockError` for what is missing, unknown or of another type."""
    data = mapping(data, where=where)
    hints = _hints(typing.cast("Any", kind))
    fields = {_key(field.name): field for field in dataclasses.fields(typing.cast("Any", kind))}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise malformed(f"{where}.{unknown[0]}", "unknown key")
    values = {}
    for key, field in fields.items():
        if key in data:
            values[field.name] = _value(hints[field.name], data[key], where=f"{where}.{key}")
        elif field.default is dataclasses.MISSING:
            raise malformed(f"{where}.{key}", "is missing")
    return kind(**values)


def mapping(data: Any, *, where: str) -> Mapping[str, Any]:
    """`data`, which must be a table."""
    if not isinstance(data, Mapping):
        raise malformed(where, "must be a table")
    return data


def array(data: Any, *, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The tables of an array, each with its path; an absent array is empty."""
    if data is None:
        return []
    if not isinstance(data, list):
        raise malformed(where, "must be an array")
    return [(f"{where}[{i}]", mapping(item, where=f"{where}[{i}]")) for i, item in enumerate(data)]


def text(data: Mapping[str, Any], key: str, *, where: str) -> str:
    """The string at `key`."""
    if key not in data:
        raise malformed(f"{where}.{key}", "is missing")
    return typing.cast("str", _value(str, data[key], where=f"{where}.{key}"))


def _value(hint: Any, data: Any, *, where: str) -> Any:
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(data, list):
            raise malformed(where, "must be an array")
        if kinds[-1] is not Ellipsis:
            if len(data) != len(kinds):
                raise malformed(where, f"must have {len(kinds)} items")
        else:
            kinds = kinds[:1] * len(data)
        pairs = enumerate(zip(kinds, data, strict=True))
        return tuple(_value(kind, item, where=f"{where}[{i}]") for i, (kind, item) in pairs)
    if typing.get_origin(hint) is typing.Literal:
        if data not in typing.get_args(hint):
            raise malformed(where, f"must be one of {', '.join(typing.get_args(hint))}")
        return data
    if dataclasses.is_dataclass(hint):
        return read(typing.cast("type[Any]", hint), data, where=where)
    # `bool` is an `int` to Python, not to TOML
    if type(data) is not hint:
        names = {str: "a string", int: "an integer", bool: "a boolean"}
        raise malformed(where, f"must be {names[hint]}")
    return data


def _key(name: str) -> str:
    return name.replace("_", "-")


@functools.cache
def _hints(kind: type[Any]) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)
