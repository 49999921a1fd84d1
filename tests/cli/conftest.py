"""What the tests of the command line share: a built hello-world, and bases that cost nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_projects import write_bases

from builder import sandbox
from tests.conftest import Cogsmith


@pytest.fixture(scope="session")
def tiny(shared: Path) -> Path:
    """An OCI layout with the bases `tiny:amd64` and `tiny:arm64`."""
    folder = shared / "tiny"
    if not folder.exists():
        draft = shared / f"tiny.{os.getpid()}"
        write_bases(draft)
        try:
            draft.rename(folder)
        except OSError:
            assert folder.exists()  # another worker was quicker
    return folder


@pytest.fixture(scope="session")
def hello(cogsmith: Cogsmith) -> str:
    """The digest of the image `hello`, which is built."""
    return cogsmith("build", "-q", "-t", "hello", "examples/hello-world").out.strip()


@pytest.fixture(scope="session")
def archive(cogsmith: Cogsmith, hello: str, shared: Path) -> Path:
    """The image `hello` as an OCI archive."""
    path = shared / "hello.tar"
    if not path.exists():
        cogsmith("image", "export", "hello", path)
    return path


@pytest.fixture
def containers(tmp_path: Path) -> None:
    """Skips, aloud, where no container can run."""
    problems = sandbox.check(scratch=tmp_path / "probe")
    if problems:
        pytest.skip(f"no containers on this machine: {problems[0]}")
