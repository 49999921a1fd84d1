from cog import BasePredictor, Input, Path
from typing import Any, Dict
import torch


class Predictor(BasePredictor):
    def setup(self):
        self.model = None

    def predict(self, image: Path = Input(description="Image to classify"), top: int = Input(default=3, ge=1, le=1_000)) -> Any:
        return [["a", "b", 0.3]]
