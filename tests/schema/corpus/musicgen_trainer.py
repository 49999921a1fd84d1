import os
from typing import Optional, List

from cog import BaseModel, Input, Path, BasePredictor


class TrainingOutput(BaseModel):
    weights: Path


def train(
    dataset_path: Path = Input("Path to dataset directory. Audio files in .wav, .mp3 or .flac", description="x"),
    auto_labeling: bool = Input(description="Creating label data like genre, mood, theme for your tracks", default=True),
    model_version: str = Input(description="Model version to train.", default="stereo-melody", choices=["stereo-melody", "stereo-small", "stereo-medium", "melody", "small", "medium"]),
    epochs: int = Input(description="Number of epochs to train for", default=3),
    updates_per_epoch: int = Input(description="Number of iterations for one epoch. If None, iterations per epoch will be set according to dataset/batch size.", default=100),
    lr: float = Input(description="Learning rate", default=1),
    optimizer: str = Input(description="Type of optimizer.", default="dadam", choices=["dadam", "adamw"]),
    one_same_description: str = Input(description="A description for all of audio data", default=None),
) -> TrainingOutput:
    return TrainingOutput(weights=Path("/tmp/w.tar"))


class Predictor(BasePredictor):
    def predict(
        self,
        model_version: str = Input(default="melody", choices=["melody", "large"]),
        prompt: str = Input(description="A description of the music you want to generate.", default=None),
        duration: int = Input(description="Duration of the generated audio in seconds.", default=8),
        replicate_weights: Optional[Path] = Input(description="Trained weights", default=None),
    ) -> Path:
        return Path("/tmp/a.wav")
