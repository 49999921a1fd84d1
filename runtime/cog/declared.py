"""`@cog.input(...)`: how models of 2021 declared their inputs.  Standard library only.

The builder reads these calls from the source; here they tell the worker the types and the defaults.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, Optional, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_ATTRIBUTE = "__cog_inputs__"

REQUIRED: Any = object()
"""In place of a default: there is none."""


@dataclasses.dataclass(frozen=True)
class Declared:
    """What one decorator says of one input."""

    type: Any
    default: Any
    min: Any
    max: Any
    options: Optional[List[Any]]
    help: Optional[str]


def declare_input(
    name: str,
    type: Any = str,  # noqa: A002  # the names are the interface
    default: Any = REQUIRED,
    min: Any = None,  # noqa: A002
    max: Any = None,  # noqa: A002
    options: Optional[List[Any]] = None,
    help: Optional[str] = None,  # noqa: A002
) -> Callable[[Function], Function]:
    """Declare one input of a run method; the decorators of several inputs are stacked.

    An input without a `default` is required.  `min` and `max` bound numbers, `options` are the values allowed.
    """
    if not isinstance(name, str):
        raise TypeError('@cog.input needs the name of an input: @cog.input("text", type=str)')
    told = Declared(type, default, min, max, None if options is None else list(options), help)

    def mark(function: Function) -> Function:
        # The decorator next to the function runs first; the topmost input comes first.
        setattr(function, _ATTRIBUTE, {name: told, **declared(function)})
        return function

    return mark


def declared(function: Callable[..., Any]) -> Dict[str, Declared]:
    """The inputs that the decorators of a function declare, from the topmost on; none in today's form."""
    return getattr(function, _ATTRIBUTE, {})
