import os
import shutil
import tempfile

import cv2
import cog
import numpy as np
from basicsr.archs.rrdbnet_arch import RRDBNet


class Predictor(cog.BasePredictor):
    def setup(self):
        os.makedirs("output", exist_ok=True)

    def choose_model(self, scale, version, tile=0):
        half = True if "cuda" else False

    def predict(
        self,
        img: cog.Path = cog.Input(description="Input"),
        version: str = cog.Input(
            description="RealESRGAN version. Please see [Readme] below for more descriptions",
            choices=["General - RealESRGANplus", "General - v3", "Anime - anime6B", "AnimeVideo - v3"],
            default="General - v3",
        ),
        scale: float = cog.Input(description="Rescaling factor", default=2, ge=0.0, le=10.0),
        face_enhance: bool = cog.Input(
            description="Enhance faces with GFPGAN. Note that it does not work for anime images/vidoes", default=False
        ),
        tile: int = cog.Input(
            description="Tile size. Default is 0, that is no tile. When encountering the out-of-GPU-memory issue, please specify it, e.g., 400 or 200",
            default=0,
        ),
    ) -> cog.Path:
        if tile <= 100 or tile is None:
            tile = 0
        return cog.Path(os.path.join(tempfile.mkdtemp(), "out.png"))
