"""Models as people write them, in a real worker: one file for two purposes, threads, decorators, loops of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from cog.worker.protocol import Done
from worker_life import living, ready


def test_one_file_predicts_and_trains(tmp_path: Path) -> None:
    source = """
        import pickle
        print("loaded")
        class Thing: pass
        class Runner:
            def setup(self): self.thing = Thing()
            def run(self): return len(pickle.dumps(self.thing)) > 0
        def train(): return "trained"
    """
    with living(tmp_path, source) as life:
        assert life.setup(train_ref="run.py:train").error is None
        life.start("1", mode="train")
        assert life.find(Done, "1").value == "trained"
        assert life.predict("2").value is True, life.text
        assert life.text == "loaded\n"


@pytest.mark.parametrize("run", ["def", "async def"])
def test_metrics_of_threads(tmp_path: Path, run: str) -> None:
    source = f"""
        import cog, threading
        def record():
            cog.current_scope().record_metric("made", 1)
            cog.emit_metric("context", dict(cog.current_scope().context))
        {run} Runner():
            thread = threading.Thread(target=record)
            thread.start(), thread.join()
    """
    with ready(tmp_path, source) as life:
        for number in "12":
            life.start(number, context={"n": number})
            life.find(Done, number)
            assert life.metrics(number) == [("made", 1, "replace"), ("context", {"n": number}, "replace")]


def test_threads_of_one_of_several_predictions_belong_to_none(tmp_path: Path) -> None:
    source = """
        import asyncio, cog, threading
        class Runner:
            def setup(self): self.count, self.both = 0, asyncio.Event()
            @cog.concurrent(max=2)
            async def run(self):
                self.count += 1
                if self.count == 2: self.both.set()
                await self.both.wait()
                thread = threading.Thread(target=cog.emit_metric, args=("made", 1))
                thread.start(), thread.join()
                await asyncio.sleep(0.01)  # the other one has done so, too, before this one ends
    """
    with ready(tmp_path, source) as life:
        for number in "12":
            life.start(number)
        for number in "12":
            assert life.find(Done, number).status == "succeeded"
            assert life.metrics(number) == []


WRAPPED = """
    import asyncio, cog, functools
    def alone(function):
        @functools.wraps(function)
        def inner(*args, **kwargs): return asyncio.run(function(*args, **kwargs))
        return inner
    def through(function):
        @functools.wraps(function)
        def inner(*args, **kwargs): return function(*args, **kwargs)
        return inner
    class Runner:
        async def setup(self): self.loop = asyncio.get_running_loop()
        async def _run(self, n: int):
            print(n)
            cog.current_scope().record_metric("n", n)
            await asyncio.sleep(0)
            return [n, asyncio.get_running_loop() is self.loop]
        run = {wrapper}(_run)
"""


@pytest.mark.parametrize(("wrapper", "same"), [("alone", False), ("through", True)], ids=["alone", "through"])
@pytest.mark.parametrize("concurrency", [None, 2], ids=["one", "two"])
def test_a_plain_wrapper_of_an_async_function(
    tmp_path: Path, wrapper: str, same: bool, concurrency: int | None
) -> None:
    with living(tmp_path, WRAPPED.format(wrapper=wrapper)) as life:
        assert life.setup(concurrency=concurrency).error is None
        assert life.predict("1", n=7).value == [7, same], life.text
        assert (life.logs("1"), life.metrics("1")) == ("7\n", [("n", 7, "replace")])


def test_a_plain_setup_beside_an_async_run_has_no_loop_yet(tmp_path: Path) -> None:
    source = """
        import asyncio
        async def made():
            print("made")
            return 5
        class Runner:
            def setup(self):
                self.loop = asyncio.get_event_loop()
                self.task = self.loop.create_task(made())
                self.made = asyncio.run(made())
            async def run(self):
                same = asyncio.get_running_loop() is self.loop is asyncio.get_event_loop()
                return [self.made, await self.task, same]
        class Failing(Runner):
            def setup(self):
                print("trying")
                raise ValueError("no weights")
    """
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    with ready(tmp_path / "good", source) as life:
        assert life.text == "made\nmade\n"
        assert life.predict().value == [5, 5, True], life.text
    with living(tmp_path / "bad", source) as life:
        assert life.setup("run.py:Failing").error == "ValueError: no weights"
        assert life.text.startswith("trying\nTraceback")
