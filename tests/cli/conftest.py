"""What the tests of the command line share: a built hello-world, and bases that cost nothing."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_projects import one_of, write_bases, write_project

from tests.conftest import ROOT, Cogsmith, place


@pytest.fixture(scope="session")
def tiny(shared: Path) -> Path:
    """An OCI layout with the bases `tiny:amd64` and `tiny:arm64`."""
    folder = shared / "tiny"
    if not folder.exists():
        draft = shared / f"tiny.{os.getpid()}"
        write_bases(draft)
        place(draft, folder)
    return folder


@pytest.fixture(scope="session")
def hello(cogsmith: Cogsmith, locked_hello: Path) -> str:
    """The digest of the image `hello`, which is built."""
    return cogsmith("build", "-q", "--locked", "-t", "hello", cwd=locked_hello).out.strip()


@pytest.fixture(scope="session")
def model(locked_hello: Path) -> Callable[[Path, str], Path]:
    """Writes a project on Debian, locked; it shares all layers but its code with hello-world."""

    def write(folder: Path, source: str) -> Path:
        write_project(folder, source=source)
        shutil.copy(locked_hello / "pylock.cog.toml", folder)
        return folder

    return write


@pytest.fixture(scope="session")
def two_images(shared: Path, tiny: Path) -> tuple[Path, dict[str, str]]:
    """A cache whose store holds `tiny:amd64` and `tiny:arm64`, to be copied; and their digests."""
    cache = shared / "two-images"
    if not cache.exists():
        draft = shared / f"two-images.{os.getpid()}"
        for machine in ("amd64", "arm64"):
            one = one_of(tiny, machine, draft / machine)
            Cogsmith(draft)("image", "import", one, "--platform", f"linux/{machine}")
        place(draft, cache)
    listed = json.loads(Cogsmith(cache)("image", "ls", "--json").out)
    return cache, {one["name"].partition(":")[2]: one["digest"] for one in listed}


@pytest.fixture(scope="session")
def archive(cogsmith: Cogsmith, hello: str, shared: Path) -> Path:
    """The image `hello` as an OCI archive."""
    path = shared / "hello.tar"
    if not path.exists():
        cogsmith("image", "export", "hello", path)
    return path


@pytest.fixture
def terminal() -> Callable[..., tuple[str, str]]:
    """Runs the program with a terminal as standard error: its standard output, and what a person sees."""

    def run(
        cogsmith: Cogsmith, *arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None
    ) -> tuple[str, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "builder.cli", *arguments],
            cwd=cwd,
            env=cogsmith.env({"TERM": "xterm", **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:
            pass  # the other end is closed
        out, _ = process.communicate()
        os.close(ours)
        return out.decode(), seen.decode()

    return run
