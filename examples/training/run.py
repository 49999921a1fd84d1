import json
from typing import Optional

from cog import BaseRunner, Input, Path

UNTRAINED = {"hello": ["world"]}


class Runner(BaseRunner):
    def setup(self, weights: Optional[Path] = None) -> None:
        """`COG_WEIGHTS` names the weights of a training; without it the model knows two words."""
        self.follows = json.loads(Path(str(weights)).read_text()) if weights else UNTRAINED

    def run(
        self,
        start: str = Input(description="The first word", default="hello"),
        length: int = Input(description="At most so many words", ge=1, le=100, default=10),
    ) -> str:
        words = [start]
        while len(words) < length and words[-1] in self.follows:
            words.append(self.follows[words[-1]][0])
        return " ".join(words)
