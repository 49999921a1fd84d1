"""`cogsmith lock`: what it writes, what moves, what it says is stale, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.pylock import Pylock
from small_projects import error, write_project, write_wheel

from builder.lock import dumps, loads
from tests.conftest import Cogsmith, Done

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("cli-lock")]

Locked = Callable[..., Done]


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """A folder of wheels: `cs-top` needs `cs-below`, `cs-other` needs nothing; each in version 1.0."""
    folder = tmp_path / "links"
    write_wheel(folder, "cs-top", "1.0", needs="cs-below")
    write_wheel(folder, "cs-below", "1.0")
    write_wheel(folder, "cs-other", "1.0")
    return folder


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    return write_project(tmp_path / "p", base=f"oci:{tiny}:tiny:amd64", requirements="cs-top\n")


@pytest.fixture
def program(cogsmith: Cogsmith, links: Path, folder: Path) -> Locked:
    """The program in the project's folder, with the wheels at hand; for amd64, whatever this machine is."""

    def call(command: str, *arguments: str, ok: bool = True, platform: str = "linux/amd64") -> Done:
        words = (command, "--platform", platform, *arguments)
        return cogsmith(*words, cwd=folder, env={"UV_FIND_LINKS": str(links)}, ok=ok)

    return call


def versions(folder: Path) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in loads((folder / "pylock.cog.toml").read_text()).wheels}


def newer(links: Path) -> None:
    for name, needs in (("cs-top", "cs-below"), ("cs-below", ""), ("cs-other", "")):
        write_wheel(links, name, "2.0", needs=needs)


def test_what_is_written(program: Locked, folder: Path) -> None:
    done = program("lock")
    assert done.out == ""
    assert "added cs-top 1.0" in done.err
    assert f"wrote {folder}/pylock.cog.toml" in done.err
    path = folder / "pylock.cog.toml"
    text = path.read_text()
    pylock = Pylock.from_dict(tomllib.loads(text))
    pylock.validate()
    assert [(package.name, str(package.version)) for package in pylock.packages] == [
        ("cs-below", "1.0"),
        ("cs-top", "1.0"),
    ]
    lock = loads(text, folder=folder)
    assert dumps(lock, folder=folder) == text
    assert lock.layers  # the digests that a build will have to meet
    again = program("lock")
    assert "up to date" in again.err
    assert path.read_text() == text
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "cog.yaml", "pylock.cog.toml", "requirements.txt", "run.py"
    ]  # fmt: skip


def test_check_names_what_is_stale(program: Locked, folder: Path) -> None:
    missing = program("lock", "--check", ok=False)
    assert (missing.code, missing.out) == (1, "there is no lock file\n")
    assert not (folder / "pylock.cog.toml").exists()
    program("lock", "--no-layers")
    fine = program("lock", "--check")
    assert fine.out == fine.err == ""
    other = program("lock", "--check", ok=False, platform="linux/arm64")
    assert (other.code, other.out) == (1, "it is for linux/amd64, not linux/arm64\n")
    (folder / "requirements.txt").write_text("cs-other\n")
    edited = program("lock", "--check", ok=False)
    assert (edited.code, edited.out) == (1, "cog.yaml or the requirements changed\n")
    both = program("lock", "--check", ok=False, platform="linux/arm64")
    assert both.out == "cog.yaml or the requirements changed\nit is for linux/amd64, not linux/arm64\n"


def test_a_lock_of_another_build_is_stale(program: Locked, folder: Path) -> None:
    program("lock", "--no-layers")
    path = folder / "pylock.cog.toml"
    lock = loads(path.read_text(), folder=folder)
    assert len(lock.runtime_build) == 64
    path.write_text(dumps(dataclasses.replace(lock, runtime_build="0" * 64), folder=folder))
    done = program("lock", "--check", ok=False)
    assert (done.code, done.out.startswith("it was made by another build of cogsmith")) == (1, True)
    assert "another build" in error(program("build", "--locked", ok=False), 11)
    program("lock", "--no-layers")
    assert loads(path.read_text(), folder=folder) == lock


def test_versions_stay_until_told(program: Locked, links: Path, folder: Path) -> None:
    program("lock", "--no-layers")
    newer(links)
    assert "up to date" in program("lock", "--no-layers").err
    (folder / "requirements.txt").write_text("cs-top\ncs-other\n")
    added = program("lock", "--no-layers")
    assert versions(folder) == {"cs-below": "1.0", "cs-other": "2.0", "cs-top": "1.0"}
    assert "added cs-other 2.0" in added.err
    assert "moved" not in added.err
    one = program("lock", "--no-layers", "--upgrade=CS.below")  # as packages are named everywhere: case, `.`, `_`, `-`
    assert versions(folder) == {"cs-below": "2.0", "cs-other": "2.0", "cs-top": "1.0"}
    assert "moved cs-below 1.0 to 2.0" in one.err
    all_of_them = program("lock", "--no-layers", "--upgrade")
    assert versions(folder) == {"cs-below": "2.0", "cs-other": "2.0", "cs-top": "2.0"}
    assert "moved cs-top 1.0 to 2.0" in all_of_them.err
    (folder / "requirements.txt").write_text("cs-other<2\n")
    back = program("lock", "--no-layers")
    assert versions(folder) == {"cs-other": "1.0"}  # what is no longer allowed moves without being told
    assert "moved cs-other 2.0 to 1.0" in back.err
    assert "removed cs-top 2.0" in back.err


def test_upgrade_of_what_is_not_there(program: Locked, folder: Path) -> None:
    program("lock", "--no-layers")
    before = (folder / "pylock.cog.toml").read_bytes()
    assert "did you mean `--upgrade=cs-below`?" in error(program("lock", "--upgrade=cs-bellow", ok=False))
    assert "`--upgrade=.`" in error(program("lock", "--upgrade", ".", ok=False))  # meant as PROJECT, taken as NAME
    assert (folder / "pylock.cog.toml").read_bytes() == before


def test_a_failed_lock_leaves_the_old_one(program: Locked, folder: Path) -> None:
    program("lock", "--no-layers")
    before = (folder / "pylock.cog.toml").read_bytes()
    (folder / "requirements.txt").write_text("cs-top==7\n")
    assert "cs-top" in error(program("lock", ok=False), 4)
    assert (folder / "pylock.cog.toml").read_bytes() == before
    assert not list(folder.glob(".pylock*"))


def test_a_damaged_one_is_renewed(program: Locked, folder: Path) -> None:
    path = folder / "pylock.cog.toml"
    path.write_text("<<<<<<< ours\n")
    error(program("lock", "--check", ok=False), 11)
    error(program("build", ok=False), 11)
    done = program("lock", "--no-layers")
    assert "warning: pylock.cog.toml cannot be read" in done.err
    assert versions(folder) == {"cs-below": "1.0", "cs-top": "1.0"}
    path.unlink()
    path.mkdir()
    error(program("lock", ok=False), 11)


def test_build_takes_the_lock_and_leaves_it(program: Locked, links: Path, folder: Path) -> None:
    path = folder / "pylock.cog.toml"
    assert "there is no `pylock.cog.toml`" in error(program("build", "--locked", ok=False), 11)
    program("build")
    assert not path.exists()
    program("lock", "--no-layers")
    before = path.read_bytes()
    newer(links)
    locked = program("build", "--locked").out
    assert program("build", "--no-cache").out == locked
    (folder / "requirements.txt").write_text("cs-top\ncs-other\n")
    for command in ("build", "plan"):
        assert "is stale" in error(program(command, "--locked", ok=False), 11)
    for _ in range(2):  # the second is known already, and as stale as the first
        loose = program("build")
        assert "warning: pylock.cog.toml is stale (cog.yaml or the requirements changed)" in loose.err
        assert loose.out != locked
        assert "cog.yaml or the requirements changed" in error(program("build", "--locked", ok=False), 11)
    assert path.read_bytes() == before


def test_requirements_that_are_no_part_of_the_image(program: Locked, folder: Path) -> None:
    (folder / ".dockerignore").write_text("requirements.txt\n")
    program("lock", "--no-layers")
    program("build", "--locked")
    (folder / "requirements.txt").write_text("cs-top\ncs-other\n")
    error(program("build", "--locked", ok=False), 11)
