from typing import List, Optional, Tuple
from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        matrix: List[List[float]] = Input(description="rows", default=[[1, 0], [0, 1.0]]),
        gaps: List[Optional[int]] = Input(default=[1, None]),
        anything: list = Input(default=["a", 1]),
    ) -> List[List[float]]:
        ...
