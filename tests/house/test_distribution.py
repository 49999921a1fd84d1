"""What `pip install` brings: the same files that a checkout has."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from builder.resolve.runtime import runtime_files

ROOT = Path(__file__).parents[2]


@pytest.mark.network
def test_wheel_holds_the_runtime_and_nothing_that_was_compiled(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("builder", "nix", "runtime"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    entries, _ = runtime_files(hash_file=lambda path, _: str(path))
    wanted = {f"runtime/{entry.path}" for entry in entries if entry.type == "file"}
    assert wanted == {name for name in names if name.startswith("runtime/")}
    assert "builder/runtime_pins.json" in names
    assert {f"nix/{path.name}" for path in (ROOT / "nix").iterdir()} <= names
    assert any(name.startswith("builder/data/") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_user_installs_nothing_that_only_an_image_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {line.split("=")[0].split(">")[0].split("<")[0] for line in project["dependencies"]}
    assert not names & {"fastapi", "uvicorn", "starlette", "pydantic", "uvloop", "httptools"}
    assert "uv" in names
