import cog
from cog import Input


class Runner(cog.BaseRunner):
    def run(
        self,
        text: str = Input(description="Some deprecated text", deprecated=True, default="abc"),
        prompt: str = Input(description="Prompt for the model", deprecated=False),
        big: int = Input(default=2**53 + 1, le=2**63 - 1),
        tiny: float = Input(default=1e-7, ge=-1e-3, le=1E20),
        nested: dict = Input(default={"a": [1, 2.0, None, True], 3: {"é": "<&>"}}),
    ) -> dict:
        ...
