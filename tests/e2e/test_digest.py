"""One plan, one digest: on another Python, as another user, elsewhere, in another order, zone, mask and seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.conftest import ROOT, Cogsmith, Ordinary, give_inputs, place

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("digest")]

NEEDED = ("click", "deflate", "packaging", "pysequoia", "PyYAML", "requests", "tomli-w", "uv", "zstandard")


@pytest.fixture(scope="session")
def warm(cogsmith: Cogsmith, shared: Path) -> tuple[Path, str, Cogsmith]:
    """A locked project, the digest it has, and the downloaded inputs: each build below starts from these alone."""
    folder = shared / "locked-digest"
    if not folder.exists():
        draft = shared / f"locked-digest.{os.getpid()}"
        shutil.copytree(ROOT / "examples" / "resize", draft)
        (draft / "weights").mkdir()
        (draft / "weights" / "large.bin").write_bytes(b"weights" * 2_000_000)
        (draft / "script.sh").write_text("#!/bin/sh\n")
        (draft / "script.sh").chmod(0o755)
        (draft / "link").symlink_to("run.py")
        (draft / "naïve.txt").write_text("a name that is not ASCII")
        cogsmith("lock", cwd=draft)
        place(draft, folder)
    digest = cogsmith("build", "--locked", "-t", "digest", cwd=folder).out.strip()
    return folder, digest, cogsmith


def with_inputs(cache: Path, warm: tuple[Path, str, Cogsmith]) -> Cogsmith:
    """The program with a cache that holds the downloads and nothing made."""
    there = Cogsmith(cache)
    give_inputs(warm[2], warm[0], there)
    return there


def offline() -> dict[str, str]:
    return {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "UV_OFFLINE": "1"}


def test_elsewhere(warm: tuple[Path, str, Cogsmith], tmp_path: Path) -> None:
    """All at once, because a build is ten seconds: place, order, mask, zone, hash seed, locale, and no isal."""
    folder, digest, _ = warm
    elsewhere = tmp_path / "a longer name, with spaces" / "elsewhere"
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "isal.py").write_text("raise ImportError('hidden by the test')\n")
    before = os.umask(0o077)
    try:
        elsewhere.mkdir(parents=True)
        for path in sorted(folder.rglob("*"), reverse=True, key=lambda path: (len(path.parts) * -1, path)):
            target = elsewhere / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                target.symlink_to(os.readlink(path))
            elif path.is_file():
                target.write_bytes(path.read_bytes())
                if path.suffix == ".sh":
                    target.chmod(0o700)
        there = with_inputs(tmp_path / "cache", warm)
        zone = {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1", "PYTHONPATH": f"{hidden}:{ROOT}"}
        words = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"}
        assert there("build", "--locked", cwd=elsewhere, env={**offline(), **zone, **words}).out.strip() == digest
    finally:
        os.umask(before)


def interpreter(minor: str) -> str:
    found = shutil.which(f"python{minor}")
    if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
        return found
    for path in sorted(Path("~/.pyenv/versions").expanduser().glob(f"{minor}.*/bin/python")):
        return str(path)
    pytest.skip(f"python{minor} is not installed")


@pytest.mark.parametrize("minor", ["3.13", "3.14"])
def test_host_python(warm: tuple[Path, str, Cogsmith], tmp_path: Path, shared: Path, minor: str) -> None:
    if sys.version_info[:2] == tuple(map(int, minor.split("."))):
        pytest.skip("that is the interpreter all other tests run on")
    folder, digest, _ = warm
    venv = shared / f"venv-{minor}"
    subprocess.run([interpreter(minor), "-m", "venv", "--without-pip", venv], check=True)
    pip = [find_uv_bin(), "pip", "install", "--quiet", "--python", venv / "bin/python"]
    subprocess.run([*pip, *NEEDED, "deflate==0.9.0"], check=True)
    there = with_inputs(tmp_path / "cache", warm)
    done = subprocess.run(
        [venv / "bin/python", "-m", "builder.cli", "build", "--locked"],
        cwd=folder,
        env=there.env(offline()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == digest, done.stderr


def test_ordinary_user(warm: tuple[Path, str, Cogsmith], ordinary: Ordinary, tmp_path: Path) -> None:
    """Another user, with a home and a cache of its own."""
    folder, digest, _ = warm
    theirs = ordinary.give(folder, "project")
    cache = ordinary.home / "cache"
    ordinary.give(with_inputs(tmp_path / "cache", warm).cache, "cache")
    done = ordinary.run(
        "-m", "builder.cli", "build", "--locked", cwd=theirs, env={"XDG_CACHE_HOME": str(cache), **offline()}
    )
    assert done.stdout.strip() == digest, done.stderr
