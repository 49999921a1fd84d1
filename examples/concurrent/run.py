import asyncio

from cog import BaseRunner, Input, concurrent, current_scope


class Runner(BaseRunner):
    async def setup(self) -> None:
        self.running = 0
        self.met = asyncio.Event()

    @concurrent(max=4)
    async def run(
        self, guests: int = Input(description="How many predictions to wait for, this one included", ge=1, le=4, default=1)
    ) -> str:
        """Ends when so many predictions run at the same time: none of them could alone."""
        self.running += 1
        most = self.running
        try:
            while self.running < guests and not self.met.is_set():
                await asyncio.sleep(0.01)
            self.met.set()
            most = max(most, self.running)
        finally:
            await asyncio.sleep(0.05)
            self.running -= 1
            if self.running == 0:
                self.met.clear()
        current_scope().record_metric("together", most)
        return f"{most} together"
