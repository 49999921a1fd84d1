"""A Python that no Debian release brings: found by uv, locked, a layer of its own, and what the image runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import standin_python
from tests.conftest import Cogsmith, place

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("interpreter")]


@pytest.fixture(scope="session")
def archive(shared: Path) -> tuple[Path, str]:
    """The stand-in's archive and its version."""
    python = standin_python.find()
    version, _ = standin_python.facts(python)
    folder = shared / "standin-python"
    if not folder.exists():
        draft = shared / f"standin-python.{os.getpid()}"
        draft.mkdir()
        standin_python.pack(python, draft / f"cpython-{version}-linux-install_only.tar.gz")
        place(draft, folder)
    return folder / f"cpython-{version}-linux-install_only.tar.gz", version


def with_python(folder: Path, version: str) -> Path:
    text = (folder / "cog.yaml").read_text()
    (folder / "cog.yaml").write_text(text.replace('"3.11"', f'"{version}"'))
    return folder


@pytest.mark.usefixtures("containers")
def test_the_image_runs_it(
    cogsmith: Cogsmith, archive: tuple[Path, str], project: Callable[[str], Path], tmp_path: Path
) -> None:
    path, version = archive
    minor = version.rpartition(".")[0]
    folder = with_python(project("hello-world"), minor)
    with standin_python.mirror(tmp_path, version=version, archive=path) as settings:
        cogsmith("lock", cwd=folder, env=settings)
    # The lock has all: neither uv nor the mirror is there any more.
    digest = cogsmith("build", "--locked", "-t", "other-python", cwd=folder).out.strip()
    plan = json.loads(cogsmith("plan", "--json", "--locked", cwd=folder).out)
    layer = next(layer for layer in plan["layers"] if layer["kind"] == "interpreter")
    assert (layer["root"], layer["version"]) == (f"/opt/python/{version}", version)
    said = cogsmith("exec", "python", "-c", "import ssl, sys; print(sys.version.split()[0], sys.prefix)", cwd=folder)
    assert said.out.split() == [version, "/opt/venv"]
    assert "hello" in cogsmith("run", "other-python", "-i", "text=you", cwd=folder).out
    assert cogsmith("build", "--locked", "-t", "other-python", cwd=folder).out.strip() == digest


def test_another_architecture_needs_no_emulation(
    cogsmith: Cogsmith, archive: tuple[Path, str], project: Callable[[str], Path], tmp_path: Path
) -> None:
    path, version = archive
    folder = with_python(project("hello-world"), version)
    with standin_python.mirror(tmp_path, version=version, archive=path) as settings:
        done = cogsmith("plan", "--json", "--platform", "linux/arm64", cwd=folder, env=settings)
    kinds = [layer["kind"] for layer in json.loads(done.out)["layers"]]
    assert kinds[:2] == ["debian", "interpreter"]


def test_an_archive_that_is_not_the_promised_one(
    fresh: Cogsmith, archive: tuple[Path, str], project: Callable[[str], Path], tmp_path: Path
) -> None:
    path, version = archive
    folder = with_python(project("hello-world"), version)
    with standin_python.mirror(tmp_path, version=version, archive=path, sha256="0" * 64) as settings:
        done = fresh("lock", cwd=folder, env=settings, ok=False)
    assert done.code == 4, done.err
    assert f"could not get cpython-{version}-linux-" in done.err
    assert "UV_PYTHON_INSTALL_MIRROR" in done.err
    assert not (folder / "pylock.cog.toml").exists()


def test_a_python_that_nobody_knows(
    cogsmith: Cogsmith, archive: tuple[Path, str], project: Callable[[str], Path], tmp_path: Path
) -> None:
    path, version = archive
    folder = with_python(project("hello-world"), "3.14")
    with standin_python.mirror(tmp_path, version=version, archive=path) as settings:
        done = cogsmith("lock", cwd=folder, env=settings, ok=False)
    assert done.code == 4, done.err
    assert "uv knows no Python 3.14 for linux/amd64" in done.err


def test_a_project_that_allows_no_other(
    cogsmith: Cogsmith, archive: tuple[Path, str], project: Callable[[str], Path], tmp_path: Path
) -> None:
    path, version = archive
    minor = version.rpartition(".")[0]
    folder = project("hello-world")
    (folder / "cog.yaml").write_text('build:\n  python_project: pyproject.toml\nrun: "run.py:Runner"\n')
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "m"\nversion = "0"\nrequires-python = "=={minor}.*"\ndependencies = []\n'
    )
    with standin_python.mirror(tmp_path, version=version, archive=path) as settings:
        done = cogsmith("lock", "--no-layers", cwd=folder, env=settings)
    assert f"taking {minor}" in done.err
