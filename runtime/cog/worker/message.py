"""`@message`: a frozen dataclass that costs little to define.  Standard library only.

`dataclasses` writes and compiles six functions for each frozen class, which is a tenth of what the server takes to
start.  The classes made here are dataclasses to `dataclasses.fields`; their methods are shared.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

C = TypeVar("C", bound=type)

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform

    @dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
    def message(kind: C) -> C:
        """As `dataclasses.dataclass(frozen=True)`."""
else:

    def message(kind):
        """As `dataclasses.dataclass(frozen=True)`; see the module for what is cheaper."""
        made = dataclasses.dataclass(init=False, repr=False, eq=False)(kind)
        fields = dataclasses.fields(made)
        made.__message_names__ = tuple(field.name for field in fields)
        made.__message_makers__ = {field.name: _maker(field) for field in fields}
        for name, function in _METHODS.items():
            setattr(made, name, function)
        return made


def _maker(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    return None if field.default is dataclasses.MISSING else lambda: field.default


def _init(self: Any, *values: Any, **named: Any) -> None:
    names = self.__message_names__
    fields = dict(zip(names, values))  # noqa: B905  # older Pythons know no `strict`
    if len(values) < len(names):
        for name in names[len(values) :]:
            if name in named:
                fields[name] = named.pop(name)
            elif self.__message_makers__[name] is None:
                raise TypeError(f"{type(self).__name__} lacks {name}")
            else:
                fields[name] = self.__message_makers__[name]()
    if named or len(values) > len(names):
        raise TypeError(f"{type(self).__name__} has no more than {', '.join(names)}")
    self.__dict__.update(fields)


def _equal(self: Any, other: Any) -> Any:
    return vars(self) == vars(other) if type(self) is type(other) else NotImplemented


def _show(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def _refuse(self: Any, name: str, *value: Any) -> None:  # noqa: ARG001
    raise dataclasses.FrozenInstanceError(f"cannot change {type(self).__name__}.{name}")


_METHODS = {
    "__init__": _init, "__eq__": _equal, "__hash__": None, "__repr__": _show, "__setattr__": _refuse,
    "__delattr__": _refuse,
}  # fmt: skip
