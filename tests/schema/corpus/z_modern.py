from __future__ import annotations

from typing import Annotated, Literal, TypedDict, NotRequired

import cog
from cog import BaseModel, BaseRunner, ConcatenateIterator, Input, Opaque, Secret
from vllm.entrypoints.chat_utils import ChatCompletionMessageParam

type Messages = Annotated[list[ChatCompletionMessageParam], Opaque]
KIB = 2**10


class Sampling(TypedDict, total=False):
    temperature: float
    top_p: NotRequired[float]


class Runner(BaseRunner):
    @cog.concurrent(max=32)
    @cog.streaming
    async def run(
        self,
        messages: Messages,
        tools: Annotated[list[dict], Opaque] | None = None,
        effort: Literal["low", "medium", "high"] = "medium",
        sampling: Sampling = Input(default={"temperature": 0.7}),
        max_tokens: int = Input(default=32 * KIB, ge=1, le=128 * KIB),
        stop: list[str] = Input(default=[], description="Stop\tsequences"),
        modalities: list[str] = Input(default=["text"], choices=["text", "audio"]),
        value: str | float | None = None,
        api_key: Secret | None = None,
    ) -> ConcatenateIterator[str]:
        yield ""
