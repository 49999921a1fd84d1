import enum
from pathlib import Path as StdPath
import os
import typing as t

import cog
from cog import Path

ASPECT_RATIOS = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "9:16": (768, 1344),
}
MAX_IMAGE_SIZE = 1440


class Inputs:
    """What several models share."""

    prompt = cog.Input(description="Prompt for generated image. If you include the `trigger_word` used in the training process you are more likely to activate the trained object, style, or concept in the resulting image.")
    aspect_ratio = cog.Input(
        description="Aspect ratio for the generated image",
        choices=list(ASPECT_RATIOS.keys()) + ["custom"],
        default="1:1",
    )
    seed = cog.Input(description="Random seed. Set for reproducible generation", default=None)

    @staticmethod
    def num_outputs(default: int = 1, le: int = 4):
        return cog.Input(description="Number of outputs to generate", default=default, le=le, ge=1)

    @staticmethod
    def side(name: str):
        return cog.Input(
            description=f"{name} of generated image in text-to-image mode. Only used when aspect_ratio=custom.",
            ge=256,
            le=MAX_IMAGE_SIZE,
            default=None,
        )


class Base(cog.BasePredictor):
    def setup(self) -> None:
        pass


class DevPredictor(Base):
    def predict(
        self,
        prompt: str = Inputs.prompt,
        aspect_ratio: str = Inputs.aspect_ratio,
        width: t.Optional[int] = Inputs.side("Width"),
        height: t.Optional[int] = Inputs.side(name="Height"),
        num_outputs: int = Inputs.num_outputs(),
        guidance: float = cog.Input(description="Guidance for generated image", ge=0, le=10, default=3),
        seed: int = Inputs.seed,
        output_format: str = cog.Input(description="Format of the output images", choices=["webp", "jpg", "png"], default="webp"),
        output_quality: int = cog.Input(description="Quality when saving the output images, from 0 to 100. 100 is best quality, 0 is lowest quality. Not relevant for .png outputs", default=80, ge=0, le=100),
        hf_token: cog.Secret = cog.Input(description="HuggingFace token, if you'd like to use a private LoRA", default=None),
        disable_safety_checker: bool = cog.Input(description="Disable safety checker for generated images.", default=False),
    ) -> t.List[Path]:
        return []
