"""Types that stand in annotations only: streamed text and opaque JSON.  Standard library only."""

from __future__ import annotations

from typing import AsyncIterator, Iterator, TypeVar

Item = TypeVar("Item")


class ConcatenateIterator(Iterator[Item]):
    """The pieces of one text, yielded as they are made; a client joins them."""


class AsyncConcatenateIterator(AsyncIterator[Item]):
    """Like `ConcatenateIterator`, from an `async def`."""


class _Opaque:
    def __repr__(self) -> str:
        return "cog.Opaque"


Opaque = _Opaque()
"""`Annotated[T, Opaque]`: any JSON object, not looked into when the schema is made."""
