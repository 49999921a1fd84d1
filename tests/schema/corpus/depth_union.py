import typing as tp
from pathlib import Path
from cog import BasePredictor, BaseModel, Input, Path as CogPath


class Box(BaseModel):
    x: float
    y: float
    label: str = "thing"


class Detection(BaseModel):
    boxes: tp.List[Box]
    best: tp.Optional[Box]
    by_label: tp.Dict[str, tp.List[Box]]
    raw: dict
    parent: "tp.Optional[Detection]" = None


class Predictor(BasePredictor):
    def predict(
        self,
        image: CogPath,
        threshold: tp.Union[int, float] = Input(default=0.5, description="0 to 1"),
        labels: tp.Optional[tp.List[str]] = Input(default=None),
        mode: tp.Union[str, None] = "fast",
    ) -> Detection:
        ...
