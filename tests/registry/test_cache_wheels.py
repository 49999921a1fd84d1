"""`--cache-repo` and packages without a wheel: what one machine built from source, no other builds again."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tomllib
from pathlib import Path

import pytest
from spec_registry import SpecRegistry

from builder import sandbox
from tests.conftest import Cogsmith

pytestmark = pytest.mark.network  # of the base: the source below needs nothing from an index

BACKEND = '''"""Builds another wheel each time, so that who builds again cannot have the same."""

import os, zipfile

INFO = "moving-1.0.dist-info/"


def get_requires_for_build_wheel(settings):
    return []


def build_wheel(folder, settings=None, metadata=None):
    name = "moving-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as out:
        out.writestr("moving.py", f"made = {os.urandom(8)!r}")
        out.writestr(INFO + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        out.writestr(INFO + "METADATA", "Metadata-Version: 2.1\\nName: moving\\nVersion: 1.0\\n")
        out.writestr(INFO + "RECORD", "")
    return name
'''
FILES = {
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["tools"]\n',
    "tools/own.py": BACKEND,
}


@pytest.fixture
def moving(locked_hello: Path, tmp_path: Path) -> Path:
    """A project on a package that has no wheel."""
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    folder = Path(shutil.copytree(locked_hello, tmp_path / "project"))
    text = (folder / "cog.yaml").read_text()
    (folder / "cog.yaml").write_text(text.replace("build:\n", "build:\n  python_requirements: requirements.txt\n", 1))
    with tarfile.open(folder / "moving-1.0.tar.gz", "w:gz") as out:
        for name, data in FILES.items():
            info = tarfile.TarInfo(f"moving-1.0/{name}")
            info.size = len(data.encode())
            out.addfile(info, io.BytesIO(data.encode()))
    (folder / "requirements.txt").write_text("moving-1.0.tar.gz\n")
    return folder


def files(machine: Cogsmith) -> Path:
    return machine.cache / "cogsmith" / "files" / "sha256"


def test_nobody_builds_it_again(cogsmith: Cogsmith, moving: Path, spec: SpecRegistry, tmp_path: Path) -> None:
    repository = f"{spec.host}/team/cache"
    env = {"COGSMITH_CACHE_REPO": repository}
    assert "building a wheel of moving" in cogsmith("lock", cwd=moving, env=env).err
    (package,) = tomllib.loads((moving / "pylock.cog.toml").read_text())["packages"]
    wheel = package["tool"]["cogsmith"]["wheel"]["sha256"]
    assert f"sha256:{wheel}" in spec.blobs
    first = cogsmith("build", "--locked", "-t", "moving", cwd=moving, env=env)

    # The layer is not there any more: the other makes it, of that very wheel.
    kept = [tag for tag in spec.manifests if tag.startswith("layer-")]
    (entry,) = [tag for tag in kept if b'"moving 1.0"' in spec.manifests[tag][1]]
    (layer,) = json.loads(spec.manifests.pop(entry)[1])["layers"]
    del spec.blobs[layer["digest"]]
    second = Cogsmith(tmp_path / "second")
    there = second("build", "--locked", "-t", "moving", cwd=moving, env=env)
    assert "building a wheel" not in there.err
    assert [path.name for path in files(second).iterdir()] == [wheel]
    assert there.out == first.out
    assert layer["digest"] in spec.blobs  # kept once more

    # With nothing at all, a push moves neither wheel nor layer here.
    third = Cogsmith(tmp_path / "third")
    pushed = third("push", "-q", "--locked", f"{spec.host}/team/model:v1", cwd=moving, env=env)
    assert pushed.out == there.out
    assert not files(third).exists() or not list(files(third).iterdir())
    # And a build has the layer instead of what it is made of.
    spec.asked.clear()
    built = third("build", "--locked", "-t", "moving", cwd=moving, env=env)
    assert built.out == there.out
    assert "building a wheel" not in built.err
    assert not [line for line in spec.asked if "/file-" in line]
