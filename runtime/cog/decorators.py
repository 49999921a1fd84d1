"""`@streaming` and `@concurrent`: marks on a run method.  Standard library only."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Optional, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def streaming(function: Optional[Function] = None) -> Any:
    """Mark a run method as one whose output clients may follow while it is made; also usable as `@streaming()`."""
    if function is None:
        return streaming
    return function


def concurrent(function: Optional[Function] = None, *, max: int = 1) -> Any:  # noqa: A002  # the name is the interface
    """Let up to `max` predictions run at a time; more than one needs an `async def`."""
    if isinstance(max, bool) or not isinstance(max, int):
        raise TypeError("concurrent max must be an integer")
    if max < 1:
        raise ValueError("concurrent max must be at least 1")

    def mark(function: Function) -> Function:
        if max > 1 and not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
            raise TypeError("concurrent max greater than 1 requires an async function")
        function.__cog_concurrent_max__ = max  # type: ignore[attr-defined]
        return function

    if function is None:
        return mark
    if not callable(function):
        raise TypeError("concurrent must be used as @concurrent or @concurrent(max=...)")
    return mark(function)
