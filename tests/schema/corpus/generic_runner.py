from typing import Generic, TypeVar
from cog import BaseRunner, Input

T = TypeVar("T")


class Base(BaseRunner, Generic[T]):
    def run(self, x: str = Input(description="as in Base")) -> str: ...


class Mixin:
    LIMIT = 10


class Runner[K](Mixin, Base[int]):
    def setup[V](self, weights: V | None = None) -> None: ...
