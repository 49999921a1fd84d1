from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(self, prompt: str, steps: int = Input(25, ge=1), **kwargs) -> str:
        return prompt
