"""A `cog.yaml` that names no Python, or a `pyproject.toml` instead of requirements: from the files to the lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_index import make_wheel

from builder.lock import Lock, loads
from tests.conftest import Cogsmith, Done

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("choice")]

RUN = "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return ''\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with wheels at hand: for 3.11 alone, for 3.12 alone, for all."""
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, "cs-old", tag="cp311-cp311-manylinux_2_17_x86_64")
    make_wheel(links, "cs-between", tag="cp312-cp312-manylinux_2_17_x86_64")
    make_wheel(links, "cs-any")
    project = tmp_path / "project"
    project.mkdir()
    (project / "run.py").write_text(RUN)
    return project


def write(folder: Path, *, requirements: str | None = None, build: str = "") -> None:
    text = 'run: "run.py:Runner"\nbuild:\n'
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
        text += "  python_requirements: requirements.txt\n"
    (folder / "cog.yaml").write_text(text + build)


def lock(cogsmith: Cogsmith, folder: Path, *arguments: str, ok: bool = True) -> Done:
    links = os.fspath(folder.parent / "links")
    words = ("lock", "--no-layers", "--platform", "linux/amd64", *arguments)
    return cogsmith(*words, cwd=folder, env={"UV_FIND_LINKS": links}, ok=ok)


def written(folder: Path) -> Lock:
    return loads((folder / "pylock.cog.toml").read_text(), folder=folder)


def test_the_newest_python_that_the_packages_allow(cogsmith: Cogsmith, folder: Path) -> None:
    write(folder, requirements="cs-any\n")
    done = lock(cogsmith, folder)
    assert "build.python_version is not set: taking 3.13, the newest of a Debian base" in done.err
    assert written(folder).interpreter.minor == "3.13"
    write(folder, requirements="cs-any\ncs-old\n")
    done = lock(cogsmith, folder)
    assert "taking 3.11" in done.err
    assert written(folder).interpreter.minor == "3.11"
    # A lock keeps what it has until it is told to move.
    write(folder, requirements="cs-any\n")
    assert "taking 3.11, as before" in lock(cogsmith, folder).err
    lock(cogsmith, folder, "--upgrade")
    assert written(folder).interpreter.minor == "3.13"


def test_no_python_suits(cogsmith: Cogsmith, folder: Path) -> None:
    write(folder, requirements="cs-between\n")
    done = lock(cogsmith, folder, ok=False)
    assert done.code == 4
    assert "error: the Python packages can be had for none of the Pythons of a Debian base" in done.err
    assert "Python 3.13: " in done.err
    assert "Python 3.11: " in done.err
    assert "hint: loosen a version" in done.err


def test_a_project_in_pyproject(cogsmith: Cogsmith, folder: Path) -> None:
    write(folder, build="  python_project: pyproject.toml\n")
    path = folder / "pyproject.toml"
    path.write_text('[project]\nname = "m"\nversion = "0"\nrequires-python = "<3.12"\ndependencies = ["cs-any"]\n')
    done = lock(cogsmith, folder)
    assert "taking 3.11" in done.err
    assert [wheel.name for wheel in written(folder).wheels] == ["cs-any"]
    path.write_text(path.read_text().replace("cs-any", "cs-old"))
    assert lock(cogsmith, folder, "--check", ok=False).out == "cog.yaml or the requirements changed\n"
    path.write_text(path.read_text().replace("<3.12", ">=3.15"))
    done = lock(cogsmith, folder, ok=False)
    assert "pyproject.toml is for Python >=3.15, and there are 3.14, 3.13, 3.12, 3.11, 3.10, 3.9, 3.8" in done.err
    write(folder, build="  python_project: pyproject.toml\n  python_version: 3.13\n")
    path.write_text(path.read_text().replace(">=3.15", "<3.12"))
    done = lock(cogsmith, folder, ok=False)
    assert "pyproject.toml is for Python <3.12, and `build.python_version` is 3.13" in done.err
