from typing import Optional
from cog import BasePredictor, Input, Path, Secret, File

SPEAKERS = ["ann", 'bob']
SPEAKERS += ["o'neil"]
SPEAKERS.append("käthe")


class Predictor(BasePredictor):
    VOICES = {"deep": 1, "high": 2}

    def predict(
        self,
        text: str = Input(min_length=1, max_length=5_000, regex=r"^\S[\s\S]*$"),
        speaker: str = Input(choices=SPEAKERS, default=SPEAKERS[0]),
        voice: str = Input(choices=list(VOICES), default="deep"),
        sample: File = Input(description="6 s or more", accept="audio/*", default=None),
        api_key: Secret = Input(default=None, description="for the paid voices"),
        token: Optional[Secret] = None,
        must: Secret = Input(description="no default"),
    ) -> Path:
        ...
