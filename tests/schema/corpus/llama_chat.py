import os
import time
from typing import Optional

from cog import BasePredictor, ConcatenateIterator, Input
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs

SYSTEM_PROMPT = """You are a helpful, respectful and honest assistant."""
PROMPT_TEMPLATE = "<s>[INST] <<SYS>>\n{system_prompt}\n<</SYS>>\n\n{prompt} [/INST]"
DEFAULT_MAX_NEW_TOKENS = os.environ.get("DEFAULT_MAX_NEW_TOKENS", 512)
MAX_CONTEXT = 4 * 1024


class Predictor(BasePredictor):
    async def setup(self, weights: str = ""):
        ...

    async def predict(  # pylint: disable=arguments-differ
        self,
        prompt: str = Input(description="Prompt"),
        system_prompt: str = Input(
            description="System prompt to send to the model. This is prepended to the prompt & helps guide <system> behavior.",
            default=SYSTEM_PROMPT,
        ),
        min_tokens: int = Input(description="The minimum number of tokens.", default=0, ge=0),
        max_tokens: int = Input(description="The maximum number of tokens.", default=DEFAULT_MAX_NEW_TOKENS, le=MAX_CONTEXT),
        temperature: float = Input(description="Modulates the next token probabilities.", default=0.6, ge=0, le=5),
        top_p: float = Input(description="A probability threshold (< 1.0).", default=0.9, ge=0.0, le=1.0),
        top_k: int = Input(description="Highest probability tokens, 0 for all.", default=50, ge=-1),
        presence_penalty: float = Input(description="Presence penalty", default=0.0),
        stop_sequences: str = Input(description="A comma-separated list of sequences to stop generation at.", default=None),
        prompt_template: str = Input(description=f"Template, e.g. {PROMPT_TEMPLATE!s}", default=PROMPT_TEMPLATE),
        seed: Optional[int] = Input(description="Random seed. Leave blank to randomize.", default=None),
    ) -> ConcatenateIterator[str]:
        start = time.time()
        async for text in self.engine.generate(prompt):
            yield text
