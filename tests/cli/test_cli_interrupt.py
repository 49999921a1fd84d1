"""Ctrl-C ends a build at once, the layer that is being packed included, and the next build is a whole one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_projects import PATIENCE, descendants, eventually, gone, start

from tests.conftest import Cogsmith

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]


def test_the_layer_being_packed_is_not_waited_for(
    cogsmith: Cogsmith, fresh: Cogsmith, hello: str, locked_hello: Path
) -> None:
    # The files are here already: what the new store still has to do is packing.
    kept = fresh.cache / "cogsmith" / "files"
    kept.parent.mkdir(parents=True)
    subprocess.run(["cp", "-al", cogsmith.cache / "cogsmith" / "files", kept], check=True)
    process = start(fresh, "build", "--locked", "--progress", "tty", cwd=locked_hello, stderr=subprocess.PIPE)
    assert process.stderr is not None
    seen = ""
    end = time.monotonic() + PATIENCE
    while "packing Debian" not in seen:  # progress is drawn many times a second
        assert time.monotonic() < end, seen
        piece = os.read(process.stderr.fileno(), 65536)
        assert piece, seen  # it ended
        seen += piece.decode()
    below = descendants(process.pid)
    os.kill(process.pid, signal.SIGINT)
    out, rest = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in rest
    assert not re.search(r"made [0-9a-f]{12} Debian", rest)
    assert eventually(lambda: gone(below))
    assert not list((fresh.cache / "cogsmith" / "tmp").iterdir())
    assert fresh("build", "-q", "--locked", "-t", "hello", cwd=locked_hello).out.strip() == hello
