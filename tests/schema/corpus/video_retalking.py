from cog import BasePredictor, Input, Path
import os, sys, argparse

INFO = ("first line, "
        "second line")


class Predictor(BasePredictor):
    def predict(
        self,
        face: Path = Input(description="Input video file of a talking-head."),
        input_audio: Path = Input(description="Input audio file."),
        audio_duration: int = Input(description="Maximum duration (in seconds) of the input audio file.", default=10, le=60 * 2),
        note: str = Input(description=INFO, default="it's \"ok\""),
    ) -> Path:
        """Run a single prediction on the model"""
