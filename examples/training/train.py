import json
from collections import Counter, defaultdict

from cog import BaseModel, Input, Path


class TrainingOutput(BaseModel):
    weights: Path


def train(
    corpus: Path = Input(description="A text to learn from"),
    least: int = Input(description="How often a pair of words must occur", ge=1, default=1),
) -> TrainingOutput:
    """Learns which word follows which."""
    follows = defaultdict(Counter)
    words = corpus.read_text().split()
    for word, following in zip(words, words[1:]):
        follows[word][following] += 1
    model = {word: [w for w, n in counts.most_common() if n >= least] for word, counts in follows.items()}
    weights = Path("/tmp/weights.json")
    weights.write_text(json.dumps({word: following for word, following in model.items() if following}, sort_keys=True))
    return TrainingOutput(weights=weights)
