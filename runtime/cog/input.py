"""`Input(...)`: what a run method says of one of its parameters.  Standard library only.

The builder reads these calls from the source, never by running them; here they only carry the default.
The module itself can be called: `@cog.input("text", type=str)` is what models of 2021 wrote (see `cog.declared`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, List, Optional, Union

from cog.declared import declare_input


@dataclass(frozen=True)
class FieldInfo:
    """The default and the constraints of one input."""

    default: Any = None
    description: Optional[str] = None
    ge: Optional[Union[int, float]] = None
    le: Optional[Union[int, float]] = None
    min_length: Optional[int] = None
    max_length: Optional[int] = None
    regex: Optional[str] = None
    choices: Optional[List[Union[str, int]]] = None
    deprecated: Optional[bool] = None
    accept: Optional[str] = None


def Input(  # noqa: N802  # the name is the interface
    default: Any = None,
    *,
    default_factory: Any = None,
    description: Optional[str] = None,
    ge: Optional[Union[int, float]] = None,
    le: Optional[Union[int, float]] = None,
    min_length: Optional[int] = None,
    max_length: Optional[int] = None,
    regex: Optional[str] = None,
    choices: Optional[List[Union[str, int]]] = None,
    deprecated: Optional[bool] = None,
    accept: Optional[str] = None,
) -> Any:
    """Describe an input.  Without `default` it is required, unless its type is Optional.

    `ge` and `le` bound numbers, `min_length`, `max_length` and `regex` strings; `choices` lists the values allowed;
    `accept` names the media types of a file (`image/*`).
    """
    if default_factory is not None:
        raise TypeError("default_factory is not supported in Input(). Use a literal default value: Input(default=...)")
    if choices is not None:
        choices = list(choices)
    return FieldInfo(
        default=default,
        description=description,
        ge=ge,
        le=le,
        min_length=min_length,
        max_length=max_length,
        regex=regex,
        choices=choices,
        deprecated=deprecated,
        accept=accept,
    )


class _Callable(ModuleType):
    __call__ = staticmethod(declare_input)


sys.modules[__name__].__class__ = _Callable
