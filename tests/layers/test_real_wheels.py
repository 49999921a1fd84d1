"""Real wheels: what our layer holds is what uv, and for some pip, puts into an environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_wheels import packed, wheels_spec
from trees import File, installed_tree, layer_tree

from tests.conftest import place

WHEELS = [
    "numpy==2.2.6",  # libraries beside the package, an executable script
    "scipy==1.15.3",  # large, thousands of files
    "pillow==11.2.1",
    "idna==3.10",  # pure
    "jmespath==1.0.1",  # .data/scripts with a placeholder for the interpreter
    "greenlet==3.2.2",  # .data/headers
    "jupyterlab-widgets==3.0.15",  # .data/data
    "uv==0.7.8",  # .data/scripts that are binaries
    "ruff==0.11.11",
    "babel==2.17.0",  # a thousand data files, a launcher
    "sympy==1.14.0",  # .data/data with a manual page, thousands of files
    "pywin32-ctypes==0.2.3",
    "botocore==1.38.23",  # thousands of files
    "docutils==0.21.2",  # many launchers
    "protobuf==6.31.0",  # a namespace package
    "setuptools==80.8.0",  # names with spaces, executables for Windows
]
ALSO_PIP = {"numpy==2.2.6", "jmespath==1.0.1", "greenlet==3.2.2", "docutils==0.21.2"}


@pytest.fixture(scope="session")
def downloaded(shared: Path) -> Path:
    """A folder with all of them."""
    folder = shared / "real-wheels"
    if not folder.exists():
        draft = shared / f"real-wheels.{os.getpid()}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(draft)]
        platforms = ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64"]
        done = subprocess.run(
            [*command, "--python-version", "3.11", *platforms, *WHEELS], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        place(draft, folder)
    return folder


@pytest.mark.network
@pytest.mark.xdist_group("real-wheels")
@pytest.mark.parametrize("requirement", WHEELS)
def test_same_tree_as_uv_and_pip(requirement: str, downloaded: Path, tmp_path: Path) -> None:
    name, _, version = requirement.partition("==")
    (wheel,) = downloaded.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    _, blob = packed(*wheels_spec(wheel, name=requirement.partition("==")[0]), threads=2)
    ours = layer_tree(blob)
    assert len(ours) > 5
    for tool in ("uv", "pip") if requirement in ALSO_PIP else ("uv",):
        theirs = installed_tree(tool, [wheel], folder=tmp_path / tool)
        assert difference(ours, theirs) == [], f"{requirement} by {tool}"


def difference(ours: dict[str, object], theirs: dict[str, object]) -> list[object]:
    """Each path that differs, with what differs about it."""
    found: list[object] = []
    for path in sorted({*ours, *theirs}):
        left, right = ours.get(path), theirs.get(path)
        if left == right:
            continue
        if isinstance(left, frozenset) and isinstance(right, frozenset):
            found.append((path, "ours", sorted(left - right)[:5], "theirs", sorted(right - left)[:5]))
        else:
            assert not isinstance(left, frozenset)
            found.append((path, left, right))
    return found


def test_difference_tells() -> None:
    one, two = File("a", False), File("a", True)
    assert difference({"x": one}, {"x": two}) == [("x", one, two)]
    rows = [frozenset({("a",), ("b",)}), frozenset({("a",)})]
    assert difference({"RECORD": rows[0]}, {"RECORD": rows[1]}) == [("RECORD", "ours", [("b",)], "theirs", [])]
