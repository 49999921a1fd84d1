from cog import BasePredictor, ConcatenateIterator, Input, Path
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cuda":
    BEAMS = 4
else:
    BEAMS = 1


class Predictor(BasePredictor):
    def predict(
        self,
        image: Path = Input(description="Input image"),
        prompt: str = Input(description="Input prompt", default="Describe this image"),
        beams: int = Input(description="depends on the device", default=BEAMS, ge=1),
        device: str = Input(default=DEVICE),
    ) -> ConcatenateIterator[str]:
        """Run a single prediction on the model"""
        yield "a"
