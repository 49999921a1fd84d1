import time

from cog import BaseRunner, ConcatenateIterator, Input, streaming


class Runner(BaseRunner):
    @streaming
    def run(
        self,
        text: str = Input(description="What to say, word by word", default="the quick brown fox"),
        pause: float = Input(description="Seconds between words", ge=0, le=10, default=0),
    ) -> ConcatenateIterator[str]:
        for number, word in enumerate(text.split()):
            if number:
                time.sleep(pause)
            yield word if number == 0 else f" {word}"
