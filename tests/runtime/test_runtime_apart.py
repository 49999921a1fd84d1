"""Server and worker apart: what each sees of the other, what comes of what a model writes, and process 1."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from runtime_image import PATIENCE, children, document, serving


def test_isolation(tmp_path: Path) -> None:
    """The server sees nothing of the model's packages and project, the worker nothing of the server's."""
    poison = 'raise ImportError("the server must not import this")\n'
    source = """
        import importlib, json, sys
        import typing_extensions
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self) -> str:
                found = {}
                for name in ("fastapi", "uvicorn", "pydantic", "starlette"):
                    try:
                        found[name] = importlib.import_module(name).__file__ is not None
                    except ImportError as problem:
                        found[name] = str(problem)
                return json.dumps({**found, "typing_extensions": typing_extensions.__version__})
    """
    packages = {
        "pydantic/__init__.py": poison,
        "fastapi/__init__.py": poison,
        "anyio.py": poison,
        "typing_extensions.py": '__version__ = "4.0"\n',
    }
    files = {"uvloop.py": poison, "json_.py": "", "queue.py": poison, "asyncio.py": poison, "starlette.py": poison}
    with serving(tmp_path, source, packages=packages, files=files) as server:
        found = json.loads(server.predict()["output"])
        assert found["typing_extensions"] == "4.0"
        assert found["pydantic"] == found["fastapi"] == found["starlette"] == "the server must not import this"
        assert found["uvicorn"] == "No module named 'uvicorn'"


def test_logs_keep_the_order_of_print_c_code_and_children(tmp_path: Path) -> None:
    source = """
        import ctypes, os, subprocess, sys
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self, rounds: int) -> str:
                libc = ctypes.CDLL(None)
                for i in range(rounds):
                    print("print", i)
                    os.write(2, f"raw {i}\\n".encode())
                    print("stderr", i, file=sys.stderr)
                    libc.printf(b"printf %d\\n", i)
                    sys.stdout.buffer.write(f"buffer {i}\\n".encode())
                    subprocess.run(["echo", "child", str(i)], stdout=sys.stdout)
                print("no line end", end="")
                libc.printf(b" nor here")
                return "ok"
    """
    kinds = ["print", "raw", "stderr", "printf", "buffer", "child"]
    with serving(tmp_path, source) as server:
        for _ in range(5):
            lines = server.predict(rounds=20)["logs"].split("\n")
            assert lines[:-1] == [f"{kind} {i}" for i in range(20) for kind in kinds]
            assert lines[-1] == "no line end nor here"
        assert "child 19\n" in server.output(), "the container's log has it too"


def test_much_output_of_c_code_that_holds_the_interpreter(tmp_path: Path) -> None:
    source = """
        import ctypes
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self, size: int) -> int:
                data = b"x" * size
                return ctypes.PyDLL(None).write(1, data, size)
    """
    with serving(tmp_path, source) as server:
        answer = server.predict(size=1_000_000)
        assert answer["output"] == 1_000_000, "a full pipe is emptied while the model cannot run"
        assert answer["logs"] == "x" * 1_000_000


def test_a_large_file_in_and_out(tmp_path: Path) -> None:
    source = """
        import shutil, tempfile
        from cog import BaseRunner, Path
        class Runner(BaseRunner):
            def run(self, file: Path) -> Path:
                self.copy = Path(tempfile.mkdtemp()) / "copy.bin"
                shutil.copyfile(file, self.copy)
                return self.copy
    """
    data = os.urandom(1 << 20) * 20
    schema = document({"file": {"type": "string", "format": "uri"}}, ("file",))
    with serving(tmp_path, source, schema=schema) as server:
        url = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
        answer = server.predict(file=url)
        assert answer["status"] == "succeeded", answer
        head, _, body = answer["output"].partition(",")
        assert head == "data:application/octet-stream;base64"
        assert base64.b64decode(body) == data
        left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
        assert left == [], "neither the input nor the output is kept"
        peak = int(Path(f"/proc/{server.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
        assert peak < 60 + 5 * 28, f"{peak} MiB: the body, its text and the value, not the answer"


def test_a_message_that_the_server_cannot_handle_loses_only_itself(tmp_path: Path) -> None:
    source = """
        import gc, time
        from cog import BaseRunner
        from cog.worker.capture import PREDICTION
        from cog.worker.protocol import Channel, Done, Metric, encode
        class Runner(BaseRunner):
            def run(self) -> str:
                channel = next(it for it in gc.get_objects() if isinstance(it, Channel) and it.folder)
                messages = Metric([], "t", 1, "replace"), Done(PREDICTION.get(), "succeeded", "behind it")
                channel._connection.sendall(b"".join(encode(it, folder="/") for it in messages))
                time.sleep(1000)
    """
    with serving(tmp_path, source) as server:
        assert server.predict()["output"] == "behind it"
        server.wait_for_output("A message of the worker was dropped")


def test_a_model_may_empty_the_temporary_folder(tmp_path: Path) -> None:
    source = """
        import os, shutil
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self, text: str) -> str:
                for name in os.listdir(os.environ["TMPDIR"]):
                    shutil.rmtree(os.path.join(os.environ["TMPDIR"], name))
                return text[::-1]
    """
    with serving(tmp_path, source) as server:
        for text in ("a", "b" * (3 << 20), "c"):
            assert server.predict(text=text)["output"] == text


def test_as_process_1(tmp_path: Path) -> None:
    """Without an init in the image: orphans are buried, signals passed on, the exit code kept."""
    unshare = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("unshare cannot make a process namespace here")
    source = """
        import os
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self) -> int:
                child = os.fork()
                if child == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os._exit(0)
                    os._exit(0)
                os.waitpid(child, 0)
                return os.getppid()
    """
    with serving(tmp_path, source, wrapper=unshare) as server:
        (init,) = children(server.process.pid)
        assert server.predict()["output"] == 2, "the server is the child of process 1"
        deadline = time.monotonic() + PATIENCE
        while len(children(init)) > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(children(init)) == 1, "no orphan is left"
        os.kill(init, signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
