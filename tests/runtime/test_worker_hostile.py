"""Models that crash, leave processes behind, close what is not theirs or write in odd ways: in a real worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from cog.server.family import MARK
from cog.worker.protocol import Cancel, Done
from runtime_image import PATIENCE
from worker_life import Life, living, ready

HOSTILE = """
    import ctypes, os, resource, signal, subprocess, sys, threading, time
    from cog import BaseRunner
    class Runner(BaseRunner):
        def run(self, do: str, n: int = 0):
            print(do, "é", end="")
            return getattr(self, do)(n)
        def nothing(self, _): return "fine"
        def leave(self, code): os._exit(code)
        def segfault(self, _): ctypes.string_at(0)
        def abort(self, _): os.abort()
        def kill(self, number): os.kill(os.getpid(), number)
        def deaf(self, _):
            os.closerange(3, 256)
            time.sleep(1000)
        def close_streams(self, _):
            sys.stdout.close(), sys.stderr.close(), sys.__stdout__.close(), sys.__stderr__.close()
            print(" still")
            return "fine"
        def replace_streams(self, _):
            sys.stdout = open(os.devnull, "w")
            print(" unheard")
            sys.stdout = sys.__stdout__
            print(" heard")
            return "fine"
        def memory(self, size):
            resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
            return len(bytearray(4 * size))
        def stack(self, _): return self.stack(_) + 1
        def threads(self, number):
            for _ in range(number): threading.Thread(target=time.sleep, args=(1000,)).start()
            return "fine"
        def thread_fails(self, _):
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start(), thread.join()
            return "fine"
        def session(self, _): return [subprocess.Popen(["sleep", "1000"], start_new_session=True).pid]
        def daemon(self, _):
            reader, writer = os.pipe()
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.write(writer, str(os.getpid()).encode())
                    time.sleep(1000)
                os._exit(0)
            return [int(os.read(reader, 100))]
        def bomb(self, number):
            pids = []
            for _ in range(number):
                child = os.fork()
                if child == 0:
                    if os.fork() == 0: os.setpgrp()
                    time.sleep(1000)
                    os._exit(0)
                pids.append(child)
            return pids
        def clear(self, _):
            os.environ.clear()
            os.chdir("/")
            return "fine"
        def read(self, _): return sys.stdin.read()
        def finalize(self, _):
            class Late:
                def __del__(self): raise ValueError("late")
            Late()
            return "fine"
        def stubborn(self, _):
            texts = ["!"]
            while True:
                try:
                    if texts: print(texts.pop())
                    time.sleep(1000)
                except BaseException: print(" no")
"""


def family(life: Life) -> list[int]:
    """The processes that have the worker's mark, dead ones apart."""
    mark = f"{MARK}={life.process._mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def life(tmp_path: Path) -> object:
    with ready(tmp_path, HOSTILE) as life:
        yield life


@pytest.mark.parametrize(
    ("do", "number", "code"),
    [("leave", 3, 3), ("segfault", 0, -11), ("abort", 0, -6), ("kill", 9, -9), ("kill", 15, -15)],
)
def test_an_unfinished_line_outlives_a_crash(life: Life, do: str, number: int, code: int) -> None:
    life.start("1", do=do, n=number)
    assert life.ended() == code
    assert life.text.count(f"{do} é") == 1
    assert ("Fatal Python error" in life.text) == (do in ("segfault", "abort"))


def test_a_worker_that_closes_its_sockets_is_ended(life: Life) -> None:
    life.start("1", do="deaf")
    assert life.ended() in (0, -9)
    assert life.text.startswith("deaf é")


@pytest.mark.parametrize(
    ("do", "number", "logs"),
    [
        ("close_streams", 0, "close_streams é still\n"),
        ("replace_streams", 0, "replace_streams é heard\n"),
        ("threads", 20, "threads é"),
        ("thread_fails", 0, "ZeroDivisionError: division by zero\n"),
        ("clear", 0, "clear é"),
        ("finalize", 0, "ValueError: late\n"),
    ],
)
def test_what_a_worker_survives(life: Life, do: str, number: int, logs: str) -> None:
    assert life.predict("1", do=do, n=number).value == "fine"
    assert logs in life.text
    after = life.predict("2", do="nothing")
    assert (after.value, life.logs("2")) == ("fine", "nothing é")


@pytest.mark.parametrize(
    ("do", "number", "error"), [("memory", 2 << 30, "MemoryError"), ("stack", 0, "RecursionError: maximum")]
)
def test_running_out_of_memory_or_stack_fails_the_prediction(life: Life, do: str, number: int, error: str) -> None:
    done = life.predict("1", do=do, n=number)
    assert done.status == "failed"
    assert done.error.startswith(f"Prediction failed: {error}")
    assert life.predict("2", do="nothing").value == "fine"


def test_standard_input_is_empty(life: Life) -> None:
    assert life.predict(do="read").value == ""


@pytest.mark.parametrize(("do", "number"), [("session", 0), ("daemon", 0), ("bomb", 30)])
def test_what_a_model_started_ends_with_its_worker(life: Life, do: str, number: int) -> None:
    pids = life.predict("1", do=do, n=number).value
    assert not any(gone(pid) for pid in pids), "not before"
    life.start("2", do="leave", n=1)
    assert life.ended() == 1
    deadline = time.monotonic() + PATIENCE
    while left := family(life) + [pid for pid in pids if not gone(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_children_do_not_pile_up(tmp_path: Path) -> None:
    limit = "    import cog.worker.children as c; c.Children.__init__.__kwdefaults__['most'] = 5\n"
    with ready(tmp_path, limit + HOSTILE) as life:
        assert life.predict("1", do="bomb", n=4).status == "succeeded"
        assert life.predict("2", do="nothing").value == "fine"
        assert life.predict("3", do="bomb", n=4).status == "succeeded", "the answer is not lost"
        assert life.ended() == 0
        assert "leaves too many processes behind" in life.text
        assert family(life) == []


LOST = """
    import signal, threading, time
    from cog.exceptions import CancelationException
    from cog.worker.interrupt import Interrupter

    really, sent = signal.pthread_kill, []

    def first_is_lost(thread, number):
        sent.append(number)
        if len(sent) > 1:
            really(thread, number)

    signal.pthread_kill = first_is_lost
    interrupter = Interrupter()
    try:
        with interrupter.running("1"):
            threading.Timer(0.05, interrupter.cancel, ["1"]).start()
            time.sleep(1000)
    except CancelationException:
        print("canceled", len(sent) > 1)
    with interrupter.running("2"):
        time.sleep(0.2)
"""


def test_a_signal_that_comes_to_nothing_is_sent_again() -> None:
    """One that arrives just before a system call starts does not end it."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOST)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "runtime")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "canceled True\n"), done.stderr


def test_a_prediction_that_ignores_its_cancel_can_be_killed(life: Life) -> None:
    life.start("1", do="stubborn")
    life.wait_for("stubborn é!")
    life.send(Cancel("1"))
    life.wait_for(" no\n")
    life._call(life.process.kill)
    assert life.ended() == -9
    assert not [it for it in life.received if isinstance(it, Done)]


WRITING = """
    import ctypes, logging, os, subprocess, sys, threading, warnings
    from cog import BaseRunner
    from cog.suppress_output import suppress_output
    logging.basicConfig(level="INFO", format="%(message)s")
    class Runner(BaseRunner):
        def run(self, do: str):
            getattr(self, do)()
        def split(self):
            text = ("é€😀" * 9999).encode()
            for start in range(0, len(text), 1000):
                os.write(1, text[start:start + 1000])
            for start in range(0, len(text), 7):
                sys.stdout.buffer.write(text[start:start + 7])
        def progress(self):
            for i in range(3):
                print(f"\\r{i}%", end="", file=sys.stderr)
        def bad_bytes(self): os.write(1, b"a\\xffb\\n")
        def no_unicode(self): print("\\ud800")
        def long(self): print("x" * 100_000, end="")
        def library(self):
            logging.info("logged")
            warnings.warn("warned")
        def threaded(self):
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start(), thread.join()
        def quiet(self):
            print("before")
            with suppress_output():
                print("never")
                os.write(1, b"never\\n")
                subprocess.run(["echo", "never"])
                ctypes.CDLL(None).puts(b"never")
            print("after")
"""


@pytest.mark.parametrize(
    ("do", "logs"),
    [
        ("split", "é€😀" * 9999 * 2), ("progress", "\r0%\r1%\r2%"), ("bad_bytes", "a\ufffdb\n"),
        ("no_unicode", "\\ud800\n"), ("long", "x" * 100_000), ("threaded", "from a thread\n"),
        ("quiet", "before\nafter\n"),
    ],
    ids=["split", "progress", "bad_bytes", "no_unicode", "long", "threaded", "quiet"],  # the name is in the environment
)  # fmt: skip
def test_writing(tmp_path: Path, do: str, logs: str) -> None:
    with ready(tmp_path, WRITING) as life:
        assert life.predict(do=do).status == "succeeded"
        assert life.text == logs


def test_loggers_and_warnings(tmp_path: Path) -> None:
    with ready(tmp_path, WRITING) as life:
        life.predict(do="library")
        assert life.logs("1").startswith("logged\n")
        assert "UserWarning: warned" in life.logs("1")


def test_logs_of_predictions_at_the_same_time_are_kept_apart(tmp_path: Path) -> None:
    source = """
        import asyncio, cog, sys
        class Runner:
            @cog.concurrent(max=4)
            async def run(self, name: str):
                for i in range(50):
                    print(name, end=" ")
                    await asyncio.sleep(0)
                    await asyncio.get_running_loop().run_in_executor(None, len, name)
                    await asyncio.to_thread(print, i, file=sys.stdout if i % 2 else sys.stderr)
    """
    with ready(tmp_path, source) as life:
        for name in "abcd":
            life.start(name, name=name)
        for name in "abcd":
            assert life.find(Done, name).status == "succeeded"
        for name in "abcd":
            words = life.logs(name).split()
            assert sorted(words) == sorted([name] * 50 + [str(i) for i in range(50)])


def test_the_server_s_end_is_the_worker_s(tmp_path: Path) -> None:
    with ready(tmp_path, HOSTILE) as life:
        life.start("1", do="stubborn")
        life.wait_for("stubborn é!")
        life._call(lambda: life.process._sockets[1].shutdown(2))
        assert life.ended() == 0


def test_killed_means_killed(life: Life) -> None:
    os.kill(life.process.pid, signal.SIGSTOP)
    life._call(life.process.kill)
    assert life.ended() == -9


UNSENDABLE = """
    import os, sys, tempfile
    class Mute(Exception):
        def __str__(self): return 404
    def fails(**_): raise OSError("no descriptor left")
    def answer(do):
        if do == "mute": raise Mute
        if do == "closed":
            sys.stderr = open(os.devnull, "w")
            sys.stderr.close()
            raise ValueError("unheard")
        if do == "number": return 10 ** 9999
        if do == "large":
            tempfile.mkstemp = fails
            return "x" * (2 << 20)
        return "fine"
    class Runner:
        def run(self, do: str): return answer(do)
    class AsyncRunner:
        async def run(self, do: str): return answer(do)
"""


@pytest.mark.parametrize("name", ["Runner", "AsyncRunner"])
def test_an_end_that_cannot_be_told_is_a_failure(tmp_path: Path, name: str) -> None:
    errors = {
        "mute": "Prediction failed: Mute: <exception str() failed>",
        "closed": "Prediction failed: ValueError: unheard",
        "number": "Prediction failed: the output cannot be sent: ValueError: Exceeds the limit",
        "large": "Prediction failed: the output cannot be sent: OSError: no descriptor left",
    }
    with living(tmp_path, UNSENDABLE) as life:
        assert life.setup(f"run.py:{name}").error is None
        for do, error in errors.items():
            done = life.predict(do, do=do)
            assert (done.status, done.error[: len(error)]) == ("failed", error)
        assert "ValueError: unheard\n" in life.text
        assert life.predict(do="fine").value == "fine"
