"""Ctrl-C ends a build at once, the layer that is being packed included, and the next build is a whole one."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest
from small_projects import PATIENCE, descendants, eventually, gone, start

from tests.conftest import Cogsmith, give_inputs

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]


def test_the_layer_being_packed_is_not_waited_for(
    cogsmith: Cogsmith, fresh: Cogsmith, hello: str, locked_hello: Path
) -> None:
    # The files are here already: what the new store still has to do is packing.
    give_inputs(cogsmith, locked_hello, fresh)
    # Progress is drawn many times a second, and waits for us after some few: a packing that we saw is not over.
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with ours:
        with theirs:
            process = start(fresh, "build", "--locked", "--progress", "tty", cwd=locked_hello, stderr=theirs.fileno())
        ours.settimeout(PATIENCE)
        seen = ""
        while "packing Debian" not in seen:
            piece = ours.recv(256)
            assert piece, seen  # it ended
            seen += piece.decode(errors="replace")
        below = descendants(process.pid)
        os.kill(process.pid, signal.SIGINT)
        while piece := ours.recv(65536):
            seen += piece.decode(errors="replace")
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in seen
    assert not re.search(r"made [0-9a-f]{12} Debian", seen)
    assert eventually(lambda: gone(below))
    assert not list((fresh.cache / "cogsmith" / "tmp").iterdir())
    assert fresh("build", "-q", "--locked", "-t", "hello", cwd=locked_hello).out.strip() == hello
