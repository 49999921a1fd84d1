from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from executed.bases import add, base_tar, needed

from builder import sandbox
from builder.store import Store


@pytest.fixture(scope="session")
def tar() -> bytes:
    """The layer of a small base with a C compiler and setcap."""
    for name in ("gcc", "setcap"):
        if shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin") is None:
            pytest.skip(f"{name} is not installed")
    made = io.BytesIO(base_tar(compiler=True))
    with tarfile.open(fileobj=made, mode="a", format=tarfile.PAX_FORMAT) as archive:
        there = set(archive.getnames())
        for path in needed("setcap"):
            name = f"usr/{path.lstrip('/').removeprefix('usr/')}"
            if name not in there:
                add(archive, name, Path(path).read_bytes(), mode=0o755)
    return made.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store; skips, aloud, where no command can run over an image."""
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    with Store.open(tmp_path / "store") as opened:
        yield opened
    sandbox.remove_tree(tmp_path / "store")
