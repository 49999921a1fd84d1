import io
import os
from typing import Any, Optional

import torch
import numpy as np
from cog import BaseModel, BasePredictor, Input, Path
import whisper
from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE


class ModelOutput(BaseModel):
    detected_language: str
    transcription: str
    segments: Any
    translation: Optional[str]
    txt_file: Optional[Path]
    srt_file: Optional[Path]


class Predictor(BasePredictor):
    def setup(self):
        self.model = whisper.Whisper(whisper.ModelDimensions(**torch.load("weights.pt")["dims"]))

    def predict(
        self,
        audio: Path = Input(description="Audio file"),
        model: str = Input(
            default="large-v3",
            choices=["tiny", "base", "small", "medium", "large-v1", "large-v2", "large-v3"],
            description="Whisper model size",
        ),
        transcription: str = Input(
            choices=["plain text", "srt", "vtt"],
            default="plain text",
            description="Choose the format for the transcription",
        ),
        translate: bool = Input(
            default=False,
            description="Translate the text to English when set to True",
        ),
        temperature: float = Input(default=0, description="temperature to use for sampling"),
        patience: float = Input(
            default=None,
            description="optional patience value to use in beam decoding, as in https://arxiv.org/abs/2204.05424, the default (1.0) is equivalent to conventional beam search",
        ),
        suppress_tokens: str = Input(
            default="-1",
            description="comma-separated list of token ids to suppress during sampling; '-1' will suppress most special characters except common punctuations",
        ),
        initial_prompt: str = Input(
            default=None, description="optional text to provide as a prompt for the first window."
        ),
        condition_on_previous_text: bool = Input(
            default=True,
            description="if True, provide the previous output of the model as a prompt for the next window; "
            "disabling may make the text inconsistent across windows, but the model becomes less prone to "
            "getting stuck in a failure loop",
        ),
        logprob_threshold: float = Input(
            default=-1.0,
            description="if the average log probability is lower than this value, treat the decoding as failed",
        ),
        no_speech_threshold: float = Input(default=0.6, description="no speech > this \u2192 silence"),
    ) -> ModelOutput:
        """Transcribes and optionally translates a single audio file"""
