import common.settings as settings
from cog import Input, Path
from common import *
from common.settings import STEPS, Quality
from model import Pipeline
from model.outputs import Result as Answer


class Predictor(Pipeline):
    def predict(
        self,
        image: ImagePath = Input(accept="image/*"),
        quality: Quality = Input(default=settings.DEFAULT_QUALITY, choices=settings.QUALITIES),
        steps: int = Input(default=STEPS["fast"], le=settings.limits.MOST),
        seed: OptionalInt = None,
    ) -> Answer:
        ...
