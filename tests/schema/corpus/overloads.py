from typing import overload
import torch
from cog import BasePredictor, Input


def cached(function):
    return function


class Predictor(BasePredictor):
    @overload
    def predict(self, x: int) -> int: ...
    @overload
    def predict(self, x: str) -> str: ...

    @cached
    @torch.no_grad()
    @torch.autocast("cuda")
    def predict(self, x: str = "1", y: "float" = 2) -> "str":
        return x
