from cog import BaseRunner, Path
import os


class Runner(BaseRunner):
    def run(self, target: os.PathLike, note: str | None = None) -> None:
        print(target)
