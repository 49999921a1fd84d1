"""`python -m builder.cuda_matrix refresh` beside an index on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.cuda.ranges import served

RUNTIME = "nvidia-cuda-runtime-cu12==12.8.90; platform_system == 'Linux'"
CUDNN = "nvidia-cudnn-cu12==9.10.2.21; platform_system == 'Linux'"
PYTHONS = ("310", "311", "312", "313", "314")


def publish(root: Path, name: str, version: str, *, pythons: tuple[str, ...] = (), requires: tuple[str, ...]) -> None:
    """Wheels of `name` and a page of the index that links them."""
    page = root / "simple" / name
    page.mkdir(parents=True, exist_ok=True)
    for tag in [f"cp{python}-cp{python}-manylinux_2_28_x86_64" for python in pythons]:
        filename = f"{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(root / filename, "w") as archive:
            head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
            archive.writestr(f"{name}-{version}.dist-info/METADATA", head + lines)
            wheel = f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: false\nTag: {tag}\n"
            archive.writestr(f"{name}-{version}.dist-info/WHEEL", wheel)
            archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
        with (page / "index.html").open("a") as out:
            out.write(f'<a href="../../{filename}">{filename}</a>\n')


def refresh(url: str, tmp_path: Path, *names: str) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "UV_INDEX_URL": f"{url}/simple",
        "UV_NO_CONFIG": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    argv = [sys.executable, "-m", "builder.cuda_matrix", "refresh", *names]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index with torch 2.9.0 and what belongs to it, as the table has them."""
    root = tmp_path / "index"
    publish(root, "torch", "2.9.0", pythons=PYTHONS, requires=(RUNTIME, CUDNN))
    publish(root, "torchvision", "0.24.0", pythons=PYTHONS, requires=("torch==2.9.0",))
    publish(root, "torchaudio", "2.9.0", pythons=PYTHONS, requires=("torch==2.9.0",))
    return root


def test_what_agrees(index: Path, tmp_path: Path) -> None:
    with served(index) as sent:
        done = refresh(sent.url, tmp_path, "torch==2.9.0")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "the rows are what the index says" in done.stderr


def test_what_differs(tmp_path: Path) -> None:
    root = tmp_path / "other"
    other = RUNTIME.replace("12.8.90", "12.9.79")
    publish(root, "torch", "2.9.0", pythons=PYTHONS[1:], requires=(other, CUDNN))
    publish(root, "torchvision", "0.24.0", pythons=PYTHONS, requires=("torch==2.9.1",))
    publish(root, "torchaudio", "2.8.0", pythons=PYTHONS, requires=("torch==2.8.0",))
    with served(root) as sent:
        done = refresh(sent.url, tmp_path, "torch==2.9.0")
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "torch 2.9.0: Python is 3.10, 3.11, 3.12, 3.13, 3.14 in the table, 3.11, 3.12, 3.13, 3.14 in the index",
        "torch 2.9.0: CUDA is 12.8 in the table, 12.9 in the index",
        "torchvision 0.24.0: torch is 2.9.0 in the table, 2.9.1 in the index",
        "torchaudio 2.9.0: torch is 2.9.0 in the table, gone in the index",
    ]


def test_what_is_newer(index: Path, tmp_path: Path) -> None:
    newer = ("cuda-toolkit[cublas]==14.1.0; platform_system == 'Linux'", "nvidia-cudnn-cu14==11.0.2.1")
    publish(index, "torch", "9.1.0", pythons=("313", "315", "316"), requires=newer)
    with served(index) as sent:
        done = refresh(sent.url, tmp_path, "torch")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "torch 9.1.0 has no row: CUDA 14.1; cuDNN 11.0.2.1; Python 3.13, 3.15, 3.16"
    assert "torch 1.9.0: version is there in the table, gone in the index" in lines
    assert not [line for line in lines if line.startswith("torch 2.9.0:")]
