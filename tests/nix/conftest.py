"""One Nix store for all tests of a run, and a project that nobody has built."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_nix import Small, open_small

from builder import lock as locks
from builder.backends import nix_tool
from builder.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "debian"))
sys.path.insert(0, str(Path(__file__).parents[1] / "layers"))
import small_debs
from small_wheels import write_wheel


@pytest.fixture(scope="session")
def nix_store(shared: Path) -> Path:
    """A store of its own; skips, aloud, where there is no Nix that can use one."""
    problems = nix_tool.problems()
    if problems:
        pytest.skip(problems[0])
    return shared / "nix"


@pytest.fixture
def small(nix_store: Path, locked_hello: Path, shared: Path, tmp_path: Path) -> Small:
    """A project that nobody has built."""
    project = open_small(
        tmp_path / "project",
        lock=locked_hello / locks.FILE_NAME,
        files=shared / "cache" / "cogsmith" / "files" / "sha256",
        nix_store=nix_store,
    )
    project.write("run.py", b"print('hello')\n")
    project.write("a folder/with ünï~ code.txt", b"text\n", mode=0o755)
    project.write("empty", b"")
    project.write("weights.bin", bytes(range(256)) * 4096)
    project.write(".runtime/cog/__init__.py", b"x = 1\n")
    debs = project.folder / ".debs"
    debs.mkdir()
    small_debs.deb(debs, "tiny", [("./etc/tiny", "file", "tiny\n" * 100)], version="1.0~rc1")
    wheels = project.folder / ".wheels"
    wheels.mkdir()
    write_wheel(wheels, {"demo/__init__.py": b"def f():\n    return 1\n" * 50, "demo/data.bin": bytes(5000)})
    odd = write_wheel(wheels, {"odd/__init__.py": b"y = 2\n"}, name="odd")
    odd.rename(wheels / "odd-1.0~a!b%c-py3-none-any.whl")  # a store path's name cannot have these
    return project


@pytest.fixture(scope="session")
def known() -> dict[str, str]:
    """Where the interpreter and the codec are in the store of this run: to unpack them for each test takes seconds."""
    return {}


@pytest.fixture
def store(tmp_path: Path, known: dict[str, str]) -> Iterator[Store]:
    """A store of Cogsmith's own, empty but for that."""
    with Store.open(tmp_path / "store") as opened:
        for key, value in known.items():
            opened.remember("nix", key, value)
        yield opened
    with sqlite3.connect(tmp_path / "store" / "index.sqlite") as index:
        known.update(index.execute("select key, value from memos where kind = 'nix'"))
    index.close()
