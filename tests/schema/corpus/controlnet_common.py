from cog import BasePredictor, Input, Path
from typing import List

COMMON = dict(ge=0.1, le=30.0, default=9.0)
IMAGE = {"description": "Input image", "accept": "image/*"}


class Predictor(BasePredictor):
    def predict(
        self,
        image: Path = Input(**IMAGE),
        prompt: str = Input(description="Prompt for the model"),
        num_samples: str = Input(description="Number of samples (higher values may OOM)", choices=['1', '4'], default='1'),
        image_resolution: str = Input(description="Image resolution to be generated", choices=['256', '512', '768'], default='512'),
        scale: float = Input(description="Guidance Scale", **COMMON),
        eta: float = Input(description="eta (DDIM)", default=0.0),
        a_prompt: str = Input(description="Added Prompt", default="best quality, extremely detailed"),
        n_prompt: str = Input(description="Negative Prompt", default="longbody, lowres, bad anatomy, bad hands"),
        low_threshold: int = Input(description="Canny line detection low threshold", default=100, ge=1, le=255),
    ) -> List[Path]:
        ...
