import asyncio
from typing import AsyncIterator
from cog import BaseRunner, Input, concurrent


class Runner(BaseRunner):
    @concurrent(max=8)
    async def run(self, prompts: list[str] = Input(description="one answer each"), temperature: float = 1) -> AsyncIterator[dict[str, str]]:
        for prompt in prompts:
            yield {prompt: prompt}

    async def healthcheck(self) -> bool:
        return True
