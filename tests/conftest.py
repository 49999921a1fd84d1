"""What all tests share: the program as a user starts it, a store that is filled once, and tools that may be absent."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Done:
    """How a run of the program ended."""

    code: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True)
class Cogsmith:
    """The program `cogsmith`, run as a user would, with a cache of its own."""

    cache: Path

    def env(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("COG_", "COGSMITH_", "SOURCE_DATE_EPOCH"))}
        if mirror := os.environ.get("COGSMITH_DEBIAN_MIRROR"):
            kept["COGSMITH_DEBIAN_MIRROR"] = mirror
        return {**kept, "XDG_CACHE_HOME": str(self.cache), "PYTHONPATH": str(ROOT), **(changes or {})}

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        ok: bool = True,
        stdin: str | None = None,
        timeout: float = 300,
    ) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "builder.cli", *map(str, arguments)],
            cwd=cwd,
            env=self.env(env),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if ok:
            assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the whole run, the same for every xdist worker."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cogsmith(shared: Path) -> Cogsmith:
    """The program, with a store that all tests of the run fill and use."""
    return Cogsmith(shared / "cache")


@pytest.fixture
def fresh(tmp_path: Path) -> Cogsmith:
    """The program, with an empty store."""
    return Cogsmith(tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    """Copies an example to a folder of the test's own."""

    def copy(name: str) -> Path:
        target = tmp_path / name
        shutil.copytree(ROOT / "examples" / name, target)
        return target

    return copy


@pytest.fixture
def tool() -> Callable[[str], str]:
    """The path of a program; skips, aloud, if it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
