from cog import BaseModel, Input, Path, BaseRunner


class Weights(BaseModel):
    weights: Path
    log: Path | None = None


class Trainer:
    def setup(self): ...

    def train(self, images: Path = Input(accept=".zip,.tar"), steps: int = Input(default=1000, ge=100, le=6_000), caption: str = Input(default="a photo of TOK", min_length=1)) -> Weights:
        ...
