"""`@frozen`: a frozen, slotted, keyword-only dataclass that costs little to define.  Standard library only.

`dataclasses` writes and compiles six functions for each frozen class: some sixty classes are a third of the time that a
build with little to do takes.  The classes made here are dataclasses to `fields`, `replace` and `is_dataclass`; their
methods are shared functions that walk the fields.  Making an instance is somewhat slower, which does not show.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeVar, dataclass_transform

C = TypeVar("C", bound=type)

_MISSING = dataclasses.MISSING
_set = object.__setattr__


class _Factory:
    """Stands for a default that is made afresh for each instance."""

    __slots__ = ("make",)

    def __init__(self, make: Any) -> None:
        self.make = make


if typing.TYPE_CHECKING:

    @dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
    def frozen(cls: C) -> C:
        """As `dataclasses.dataclass(frozen=True, slots=True, kw_only=True)`."""
else:

    def frozen(cls):
        """As `dataclasses.dataclass(frozen=True, slots=True, kw_only=True)`; see the module for what is cheaper."""
        made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(cls)
        fields = dataclasses.fields(made)
        made.__frozen_init__ = tuple((field.name, _default(field)) for field in fields)
        made.__frozen_names__ = tuple(field.name for field in fields if field.compare)
        made.__frozen_shown__ = tuple(field.name for field in fields if field.repr)
        for name, function in _METHODS.items():
            if name not in cls.__dict__:
                setattr(made, name, function)
        return made


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is _MISSING else _Factory(field.default_factory)


def _init(self: Any, **given: Any) -> None:
    count = len(given)
    for name, default in self.__frozen_init__:
        if name in given:
            _set(self, name, given[name])
            count -= 1
        elif default is _MISSING:
            raise TypeError(f"{type(self).__name__}() lacks the argument `{name}`")
        else:
            _set(self, name, default.make() if type(default) is _Factory else default)
    if count:
        unknown = given.keys() - {name for name, _ in self.__frozen_init__}
        raise TypeError(f"{type(self).__name__}() has no argument {', '.join(sorted(f'`{name}`' for name in unknown))}")


def _equal(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.__frozen_names__)


def _hash(self: Any) -> int:
    return hash(tuple([getattr(self, name) for name in self.__frozen_names__]))


def _show(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__frozen_shown__)
    return f"{type(self).__qualname__}({shown})"


def _refuse(self: Any, name: str, *_: object) -> None:
    raise dataclasses.FrozenInstanceError(f"`{name}` of {type(self).__name__} cannot be changed")


def _state(self: Any) -> dict[str, Any]:
    return {name: getattr(self, name) for name, _ in self.__frozen_init__}


def _restore(self: Any, state: dict[str, Any]) -> None:
    for name, item in state.items():
        _set(self, name, item)


_METHODS = {
    "__init__": _init,
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _show,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__getstate__": _state,
    "__setstate__": _restore,
}
