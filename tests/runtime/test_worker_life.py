"""What a model may do, in a real worker process: the forms of its functions, health checks, trainings, cancels."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from cog.files import FETCH_TIMEOUT
from cog.worker.protocol import Cancel, Check, Checked, Done, Output
from runtime_image import PATIENCE, SDK
from worker_life import living, ready

FORMS = {
    "function": "def Runner(n: int): return n",
    "class": "class Runner:\n def run(self, n: int): return n",
    "static": "class Runner:\n @staticmethod\n def run(n: int): return n",
    "async": "class Runner:\n async def run(self, n: int): return n",
    "decorated": """
        import functools
        def plain(function):
            @functools.wraps(function)
            def inner(*args, **kwargs): return function(*args, **kwargs)
            return inner
        class Runner:
            @plain
            async def run(self, n: int): return n
    """,
    "undecorated": """
        def plain(function):
            def inner(self, n: int): return function(self, n)
            return inner
        class Runner:
            @plain
            async def run(self, n: int): return n
    """,
}
ITERATING = {
    "generator": "def Runner(n: int):\n for i in range(n): yield i",
    "iterator": "def Runner(n: int): return iter(range(n))",
    "map": "def Runner(n: int): return map(int, range(n))",
    "async generator": "async def Runner(n: int):\n for i in range(n): yield i",
    "async returns generator": "async def Runner(n: int): return (i for i in range(n))",
    "async returns async generator": """
        async def items(n):
            for i in range(n): yield i
        async def Runner(n: int): return items(n)
    """,
    "returns async generator": """
        async def items(n):
            for i in range(n): yield i
        def Runner(n: int): return items(n)
    """,
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_return(tmp_path: Path, form: str) -> None:
    with ready(tmp_path, FORMS[form]) as life:
        done = life.predict(n=3)
        assert (done.status, done.value, done.iterated) == ("succeeded", 3, False)
        assert life.predict("2", n=2**70).value == 2**70


@pytest.mark.parametrize("form", ITERATING)
def test_forms_that_iterate(tmp_path: Path, form: str) -> None:
    with ready(tmp_path, ITERATING[form]) as life:
        done = life.predict(n=3)
        assert (done.status, done.iterated, life.items("1")) == ("succeeded", True, [0, 1, 2])
        assert life.predict("2", n=0).iterated
        assert life.items("2") == []


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_items_and_metrics_come_as_they_are_made(tmp_path: Path, kind: str) -> None:
    source = f"""
        import os, time
        from cog import current_scope
        {kind} Runner():
            for i in range(3):
                current_scope().record_metric("item", i)
                yield str(i)
                while not os.path.exists(str(i)): time.sleep(0.005)
    """
    with ready(tmp_path, source) as life:
        life.start("1")
        for index in range(3):
            deadline = time.monotonic() + PATIENCE
            while len(life.items("1")) <= index:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            assert life.items("1") == [str(i) for i in range(index + 1)], "the model waits for us"
            assert life.metrics("1")[-1] == ("item", index, "replace")
            (tmp_path / "src" / str(index)).touch()
        assert life.find(Done, "1").status == "succeeded"


@pytest.mark.parametrize(
    ("source", "error", "iterated"),
    [
        ("def Runner():\n yield 1\n raise ValueError('mid')", "Prediction failed: ValueError: mid", True),
        ("async def Runner():\n yield 1\n raise ValueError('mid')", "Prediction failed: ValueError: mid", True),
        ("def Runner():\n yield 1\n yield object()", "Prediction failed: output of type object cannot be sent", True),
        ("def Runner(): return float('nan')", "Prediction failed: output is nan, which JSON cannot express", True),
        ("def Runner():\n a = []\n a.append(a)\n return a", "Prediction failed: RecursionError: maximum", True),
        ("def Runner(): raise SystemExit", "Prediction failed: SystemExit", True),
        ("async def Runner(): raise SystemExit(4)", "Prediction failed: SystemExit: 4", True),
        (
            "import asyncio, sys\nasync def leave(): sys.exit(5)\nasync def Runner(): await asyncio.gather(leave())",
            "Prediction failed: SystemExit: 5",
            True,
        ),
        ("async def Runner(): raise KeyboardInterrupt", "Prediction failed: KeyboardInterrupt", True),
        ("def Runner(x: int): 0", "Input validation error: x: Field required", True),
        ("def Runner(): return '\\ud800'", None, False),
    ],
)
def test_failures(tmp_path: Path, source: str, error: str | None, iterated: bool) -> None:
    with ready(tmp_path, source) as life:
        done = life.predict()
        assert done.iterated is iterated
        if error is None:
            assert (done.status, done.value) == ("succeeded", "\ud800"), "half a character passes"
        else:
            assert done.status == "failed"
            assert done.error.startswith(error)
        assert life.predict("2").status == done.status, "it lives on"


@pytest.mark.parametrize(
    ("setup", "variables", "logs"),
    [
        ("def setup(self): print('s')", {}, "s\n"),
        ("async def setup(self): print('a')", {}, "a\n"),
        ("def setup(self, weights): print(weights)", {}, "None\n"),
        ("def setup(self, weights='d'): print(weights)", {"COG_WEIGHTS": "w.bin"}, "w.bin\n"),
        ("def setup(self, weights: Path): print(type(weights).__name__, weights)", {"COG_WEIGHTS": "w"}, "Path w\n"),
        ("async def setup(self, weights: Optional[Path] = None): print(weights)", {"COG_WEIGHTS": ""}, "None\n"),
    ],
)
@pytest.mark.parametrize("run", ["def", "async def"])
def test_setup(tmp_path: Path, setup: str, variables: dict[str, str], logs: str, run: str) -> None:
    source = (
        f"from typing import Optional\nfrom cog import Path\nclass Runner:\n {setup}\n {run} run(self): return 'ok'\n"
    )
    with ready(tmp_path, source, **variables) as life:
        assert life.text == logs
        assert life.predict().value == "ok"


def test_context_and_secrets(tmp_path: Path) -> None:
    source = """
        from cog import BaseRunner, Secret, current_scope
        class Runner(BaseRunner):
            def run(self, key: Secret) -> str:
                print(key, self.scope.context)
                return key.get_secret_value()[::-1]
    """
    with ready(tmp_path, source) as life:
        life.start("1", context={"tenant": "a"}, key="abc")
        assert life.find(Done, "1").value == "cba"
        assert life.logs("1") == "********** {'tenant': 'a'}\n"


CHECKED = """
    import asyncio, os, sys, time
    class Base:
        def healthcheck(self):
            print("checking")
            with open("mode") as file: mode = file.read()
            if mode == "raise": raise RuntimeError("db gone")
            if mode == "exit": sys.exit(1)
            if mode == "hang": time.sleep(1000)
            return {"true": True, "false": False, "zero": 0, "none": None}[mode]
        def run(self, seconds: float):
            print("running")
            time.sleep(seconds)
            return "done"
    class Runner(Base): pass
    class AsyncCheck(Base):
        async def healthcheck(self): return super().healthcheck()
    class AsyncRun(Base):
        async def run(self, seconds: float):
            print("running")
            await asyncio.sleep(seconds)
            return "done"
    class AsyncBoth(AsyncCheck, AsyncRun):
        async def healthcheck(self):
            with open("mode") as file: mode = file.read()
            if mode == "hang": await asyncio.sleep(1000)
            return Base.healthcheck(self)
"""


@pytest.mark.parametrize("name", ["Runner", "AsyncCheck", "AsyncRun", "AsyncBoth"])
def test_healthcheck(tmp_path: Path, name: str) -> None:
    expected: dict[str, Any] = {
        "true": None, "none": None, "false": "Healthcheck failed: user-defined healthcheck returned False",
        "zero": "Healthcheck failed: user-defined healthcheck returned False",
        "raise": "Healthcheck failed: RuntimeError: db gone", "exit": "Healthcheck failed: SystemExit: 1",
    }  # fmt: skip
    with living(tmp_path, CHECKED) as life:
        done = life.setup(f"run.py:{name}")
        assert (done.error, done.healthcheck) == (None, True)
        life.start("1", seconds=1000.0)
        life.wait_for("running")
        for number, (mode, error) in enumerate(expected.items()):
            (tmp_path / "src/mode").write_text(mode)
            life.send(Check(number))
            assert life.find(Checked, number).error == error, "also while a prediction runs"
        assert "checking" in life.logs(None)
        assert "checking" not in life.logs("1"), "what it writes belongs to no prediction"
        life.send(Cancel("1"))
        assert life.find(Done, "1").status == "canceled"


@pytest.mark.parametrize("name", ["Runner", "AsyncBoth"])
def test_a_healthcheck_that_hangs(tmp_path: Path, name: str) -> None:
    with living(tmp_path, CHECKED) as life:
        life.setup(f"run.py:{name}")
        (tmp_path / "src/mode").write_text("hang")
        for number in range(5):
            life.send(Check(number))
        for number in range(5):
            error = life.find(Checked, number).error
            assert error == "Healthcheck failed: user-defined healthcheck timed out after 5.0 seconds"
        threads = Path(f"/proc/{life.process.pid}/task")
        assert len(list(threads.iterdir())) <= 5, "one that hangs is not joined by others"
        assert life.predict(seconds=0.0).value == "done"


def test_no_healthcheck(tmp_path: Path) -> None:
    with living(tmp_path, FORMS["class"]) as life:
        assert life.setup().healthcheck is False


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def train(n: int): return n + 1", "train"),
        ("async def train(n: int): return n + 1", "train"),
        ("class Trainer:\n def setup(self): print('s')\n def train(self, n: int): return n + 1", "Trainer"),
        ("class Trainer:\n async def train(self, n: int): return n + 1", "Trainer"),
    ],
)
@pytest.mark.parametrize("run", ["def", "async def"])
def test_training(tmp_path: Path, source: str, name: str, run: str) -> None:
    for folder in ("alone", "beside"):
        (tmp_path / folder).mkdir()
    with living(tmp_path / "alone", "", files={"train.py": source}) as life:
        assert life.setup(f"train.py:{name}", mode="train").error is None
        assert life.predict(n=1).value == 2
    model = f"class Runner:\n {run} run(self, n: int): return n"
    with living(tmp_path / "beside", model, files={"train.py": source}) as life:
        assert life.setup(train_ref=f"train.py:{name}").error is None
        assert life.predict("1", n=1).value == 1
        life.start("2", mode="train", n=1)
        assert life.find(Done, "2").value == 2


SLEEPY = """
    import asyncio, cog, time
    class Runner:
        def run(self):
            print("waiting")
            time.sleep(1000)
    class Async:
        @cog.concurrent(max=3)
        async def run(self):
            print("waiting")
            await asyncio.sleep(1000)
"""


@pytest.mark.parametrize("name", ["Runner", "Async"])
def test_a_cancel_may_come_before_its_prediction(tmp_path: Path, name: str) -> None:
    with living(tmp_path, SLEEPY) as life:
        life.setup(f"run.py:{name}")
        life.send(Cancel("1"))
        time.sleep(0.1)
        life.start("1")
        assert life.find(Done, "1").status == "canceled"
        life.start("2")
        life.wait_for("waiting")
        life.send(Cancel("1"))  # after its end: nobody else's
        life.send(Cancel("2"))
        assert life.find(Done, "2").status == "canceled"


def test_a_cancel_hits_one_of_several(tmp_path: Path) -> None:
    with living(tmp_path, SLEEPY) as life:
        assert life.setup("run.py:Async").concurrency == 3
        for number in "123":
            life.start(number)
        life.send(Cancel("2"))
        assert life.find(Done, "2").status == "canceled"
        assert not [it for it in life.received if isinstance(it, Done) and it.id != "2"]


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("run", ["def", "async def"])
def test_a_cancel_does_not_wait_for_downloads(tmp_path: Path, run: str, count: int) -> None:
    source = f"from cog import Path\n{run} Runner(files: list[Path]): return len(files)"
    with socket.socket() as silent:  # takes connections, and says nothing for as long as it is open
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with ready(tmp_path, source) as life:
            life.start("1", files=[url] * count)
            connections = [silent.accept()[0] for _ in range(min(count, 8))]
            began = time.monotonic()
            life.send(Cancel("1"))
            assert life.find(Done, "1").status == "canceled"
            assert time.monotonic() - began < FETCH_TIMEOUT, "it was not the time limit of the downloads"
            for connection in connections:
                connection.close()


def test_out_of_memory_it_is_the_worker_that_goes(tmp_path: Path) -> None:
    with ready(tmp_path, FORMS["class"]) as life:
        ours, theirs = (int(Path(f"/proc/{it}/oom_score_adj").read_text()) for it in ("self", life.process.pid))
        assert theirs == min(ours + 100, 1000)


@pytest.mark.parametrize(("given", "expected"), [(None, 4), (2, 2), (9, 9)])
def test_concurrency(tmp_path: Path, given: int | None, expected: int) -> None:
    source = "import cog\nclass Runner:\n @cog.concurrent(max=4)\n async def run(self): return 1"
    with living(tmp_path, source) as life:
        assert life.setup(concurrency=given).concurrency == expected


def test_concurrency_needs_an_async_run(tmp_path: Path) -> None:
    with living(tmp_path, FORMS["class"]) as life:
        error = life.setup(concurrency=2).error
        assert error == "more than one prediction at a time requires an async run() or predict() method"


def test_defaults_are_not_shared_between_predictions(tmp_path: Path) -> None:
    source = """
        from cog import Input
        def Runner(extra: dict = Input(default={}), more: list = [1]):
            extra["n"] = len(extra)
            more.append(2)
            return [extra, more]
    """
    with ready(tmp_path, source) as life:
        for number in "12":
            assert life.predict(number).value == [{"n": 0}, [1, 2]]


def test_types_that_only_a_checker_knows(tmp_path: Path) -> None:
    source = """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from cog import Path
        if TYPE_CHECKING:
            from numpy import ndarray
        def Runner(image: Path, other: ndarray | None = None, many: list[Path] | None = None):
            return [type(image).__name__, [type(one).__name__ for one in many]]
    """
    with ready(tmp_path, source) as life:
        assert life.predict(image="a", many=["b"]).value == ["Path", ["Path"]]


def test_multiprocessing(tmp_path: Path) -> None:
    source = """
        import concurrent.futures, multiprocessing, os
        from cog import BaseRunner
        def double(n):
            print(f"in the child {n}\\n", end="", flush=True)  # at once, even if it is not buffered
            return 2 * n
        class Runner(BaseRunner):
            def run(self, method: str) -> list[int]:
                context = multiprocessing.get_context(method)
                with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                    return list(pool.map(double, range(4)))
    """
    with ready(tmp_path, source, PYTHONPATH=str(SDK)) as life:  # in an image a .pth file makes the SDK importable
        for method in ("fork", "spawn", "forkserver"):
            done = life.predict(method, method=method)
            assert (done.status, done.value) == ("succeeded", [0, 2, 4, 6]), life.text
            for number in range(4):
                life.wait_for(f"in the child {number}\n")
            life.text = ""


def test_outputs_are_sent_whole_while_nobody_reads(tmp_path: Path) -> None:
    source = "def Runner():\n for i in range(2000):\n  yield 'x' * 1000"
    with ready(tmp_path, source) as life:
        assert life.predict().status == "succeeded"
        assert [len(it) for it in life.items("1")] == [1000] * 2000
        assert not [it for it in life.received if isinstance(it, Output) and it.files]
