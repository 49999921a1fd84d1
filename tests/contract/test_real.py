"""A real project, with system packages and commands, from the command line to podman: one digest on every backend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from builder import sandbox
from builder.backends import BACKENDS, DEFAULT
from tests.conftest import Cogsmith

YAML = """build:
  python_version: "3.11"
  system_packages: [sox]
  run:
    - sox --version > /opt/version && rm /etc/issue && useradd --system crew
    - command: test -s /run/secrets/token && python -c 'import cog, sys; print(sys.prefix)' > /opt/prefix
      mounts: [{type: secret, id: token, target: /run/secrets/token}]
run: "run.py:Runner"
"""
OTHERS = [name for name in BACKENDS if name not in (DEFAULT, "nix")]  # Nix runs no command


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """With a containers-storage that is not the user's."""
    folder = tmp_path_factory.mktemp("storage")
    conf = folder / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
    state = folder / "containers.conf"  # root has one folder of states, which a `reset` by another test empties
    state.write_text(f'[engine]\ntmp_dir = "{folder}/state"\n')
    executor = os.environ.get("COGSMITH_KANIKO_EXECUTOR")
    given = {"COGSMITH_KANIKO_EXECUTOR": executor} if executor else {}
    places = {"CONTAINERS_STORAGE_CONF": str(conf), "CONTAINERS_CONF": str(state)}
    return {**places, "TOKEN": "a-value-that-nobody-sees", **given}


@pytest.fixture
def sound(project: Callable[[str], Path], tmp_path: Path) -> Path:
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    folder = project("sound")
    (folder / "cog.yaml").write_text(YAML)
    return folder


@pytest.mark.network
@pytest.mark.xdist_group("contract-real")  # which resolves and builds it once
@pytest.mark.parametrize("backend", OTHERS)
def test_one_digest_of_a_project(backend: str, cogsmith: Cogsmith, sound: Path, env: Mapping[str, str]) -> None:
    words = ("build", "-t", f"contract-{backend}", "--secret", "id=token,env=TOKEN")
    here = cogsmith(*words, cwd=sound, env=env)
    there = cogsmith(*words, "--backend", backend, "--no-cache", cwd=sound, env=env, ok=False)
    if there.code == 9 and ("cannot build this here" in there.err or "cannot run on this machine" in there.err):
        pytest.skip(there.err[there.err.index("error:") :])
    assert there.code == 0, there.err
    assert "run 1/2: sox --version" in there.err  # made again, not found
    assert there.out == here.out
    if backend == "buildah":
        in_podman(cogsmith, sound, env=env, digest=there.out.strip())


def in_podman(cogsmith: Cogsmith, sound: Path, *, env: Mapping[str, str], digest: str) -> None:
    """The image is where podman looks, and podman serves it."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    told = subprocess.run(
        ["podman", "image", "inspect", "localhost/contract-buildah"], env={**os.environ, **env}, capture_output=True,
        check=True,
    )  # fmt: skip
    assert json.loads(told.stdout)[0]["Digest"] == digest
    ran = cogsmith("run", "--engine", "podman", "contract-buildah", "-i", "seconds=0.1", cwd=sound, env=env, ok=False)
    if "podman cannot run containers here" in ran.err:
        pytest.skip(ran.err)
    assert ran.code == 0, ran.err
    assert "copying" not in ran.err
    assert (sound / "output.wav").read_bytes()[:4] == b"RIFF"
    words = ("exec", "--engine", "podman", "--image", "contract-buildah", "sh", "-c", "cat /opt/prefix; exit 5")
    shown = cogsmith(*words, cwd=sound, env=env, ok=False)
    assert (shown.code, shown.out) == (5, "/opt/venv\n")
    subprocess.run(
        ["podman", "system", "reset", "--force"], env={**os.environ, **env}, capture_output=True, check=False
    )
