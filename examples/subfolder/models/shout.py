from cog import BaseRunner, Input

from models.shared.words import LOUDEST, louder


class Shouter(BaseRunner):
    def run(
        self,
        text: str = Input(description="What to shout", default="hello"),
        marks: int = Input(description="Exclamation marks", ge=0, le=LOUDEST, default=1),
    ) -> str:
        return louder(text) + "!" * marks
