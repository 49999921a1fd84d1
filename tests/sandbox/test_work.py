"""Our own code with the ids of a container: what it returns and raises, and that it ends with whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder import sandbox
from builder.errors import LayerError

TREE = "builder.engine.tree"


@pytest.fixture(autouse=True)
def full(tmp_path: Path) -> None:
    """Skips where this user has no ids to give."""
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"no subordinate ids on this machine: {problems[0]}")


def test_results_and_streams(tmp_path: Path) -> None:
    arguments = {"target": str(tmp_path / "t")}
    with sandbox.work(TREE, "extract_stdin", arguments, stdin=True) as worker:
        worker.stdin.write(bytes(1024))
        assert worker.result() == {}
    assert (tmp_path / "t").is_dir()


def test_errors_are_raised_here(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    with (
        pytest.raises(FileExistsError),
        sandbox.work(TREE, "extract_stdin", {"target": str(tmp_path / "t")}, stdin=True) as worker,
    ):
        worker.result()
    arguments = {"whole": str(tmp_path), "lower": [], "epoch": 1, "mounts": []}
    (tmp_path / ".wh.trap").touch()
    with (
        pytest.raises(LayerError, match=r"starts with `.wh.`"),
        sandbox.work("builder.layers.handed", "write_delta", arguments, stdout=True) as worker,
    ):
        worker.result()
    with pytest.raises(RuntimeError, match="KeyError"), sandbox.work(TREE, "extract_stdin", {}) as worker:
        worker.result()


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys
from builder import sandbox
with sandbox.work({TREE!r}, "extract_stdin", {{"target": {str(tmp_path / "t")!r}}}, stdin=True) as worker:
    print(worker._process.pid, flush=True)
    sys.stdin.read()
"""
    home = str(Path(sandbox.__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
        except FileNotFoundError:
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()
