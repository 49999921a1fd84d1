from __future__ import annotations
from cog import BasePredictor, Input
from ..shared import DEFAULT
from . import kinds


class Base(BasePredictor):
    def predict(self, text: str = Input(default=DEFAULT), sizes: list[int] = [1, 2]) -> kinds.Answer:
        ...
