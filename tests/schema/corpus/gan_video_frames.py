import typing
from collections.abc import Iterator

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        text: str = Input(default="the moon\u00b4s far side"),
        frames: int = Input(default=5 * 24, ge=-(-1), le=10 * 24),
        negative: typing.Optional[str] = None,
        aspect: str = Input(default="widescreen", choices=["widescreen", "square"]),
    ) -> Iterator[Path]:
        yield Path("/tmp/0.png")
