"""Ctrl-C ends a build at once, the layer that is being packed included, and the next build is a whole one."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from small_projects import PATIENCE, descendants, eventually, gone, start

from tests.conftest import Cogsmith, give_inputs
from tests.progress import Progress

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]


def test_the_layer_being_packed_is_not_waited_for(
    cogsmith: Cogsmith, fresh: Cogsmith, hello: str, locked_hello: Path
) -> None:
    # The files are here already: what the new store still has to do is packing.
    give_inputs(cogsmith, locked_hello, fresh)
    progress = Progress()
    process = start(fresh, "build", "--locked", "--progress", "tty", cwd=locked_hello, stderr=progress.fileno())
    progress.until("packing Debian")
    below = descendants(process.pid)
    os.kill(process.pid, signal.SIGINT)
    seen = progress.all()
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in seen
    assert not re.search(r"made [0-9a-f]{12} Debian", seen)
    assert eventually(lambda: gone(below))
    assert not list((fresh.cache / "cogsmith" / "tmp").iterdir())
    assert fresh("build", "-q", "--locked", "-t", "hello", cwd=locked_hello).out.strip() == hello
