"""Models as people write them, in a real worker: one file for two purposes, threads, decorators, loops of their own."""

from __future__ import annotations

from pathlib import Path

from cog.worker.protocol import Done
from worker_life import living


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
