from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(self, prompt: str = Input(description="""two
lines"""), größe: int = Input(default=1, choices=[1, 2])) -> str:
        ...
