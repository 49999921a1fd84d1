from enum import Enum
from cog import BasePredictor, Input, Path


class Scheduler(str, Enum):
    DDIM = "ddim"
    EULER = "euler"


SIZES = [64 * n for n in range(4, 17, 4)]
STYLES = sorted({"photo", "anime", "oil"})
NONE = "None"


class Predictor(BasePredictor):
    def predict(
        self,
        scheduler: str = Input(choices=[s.value for s in Scheduler], default=Scheduler.DDIM.value),
        size: int = Input(choices=SIZES, default=SIZES[-1]),
        style: str = Input(choices=[NONE, *STYLES], default=NONE, description="One of: " + ", ".join(STYLES)),
        steps: int = Input(choices=list(range(10, 51, 10)), default=max(10, 20)),
    ) -> Path:
        ...
