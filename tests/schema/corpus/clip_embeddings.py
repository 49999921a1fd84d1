from typing import List
from cog import BaseModel, BasePredictor, Input, Path
import clip


class NamedEmbedding(BaseModel):
    input: str
    embedding: List[float]


class Predictor(BasePredictor):
    def setup(self): ...

    def predict(
        self,
        inputs: str = Input(
            description="Newline-separated inputs. Can either be strings of text or image URIs starting with http[s]://",
            default="a\nb",
        ),
    ) -> List[NamedEmbedding]:
        return [NamedEmbedding(input=line, embedding=[]) for line in inputs.splitlines()]
