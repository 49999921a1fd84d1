"""`--backend nix --cache-repo`: what a command made elsewhere comes from a registry, and Nix runs nothing."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from builder import lock as locks
from builder import sandbox
from builder.backends import nix_seed
from builder.lock import DebianBase
from builder.store import Store
from tests.conftest import Cogsmith
from tests.registry.conftest import public, start  # noqa: F401 - fixtures
from tests.small_registry import Server

YAML = """build:
  python_version: "3.11"
  run:
    - head -c 20 /dev/urandom > /made-for-nix
run: "run.py:Runner"
"""


@pytest.fixture
def other(cogsmith: Cogsmith, locked_hello: Path, known: dict[str, str], tmp_path: Path) -> Cogsmith:
    """Another machine: it has packages for the interpreter of Nix's sandbox, and nothing that was made of them."""
    made = Cogsmith(tmp_path / "other")
    base = locks.loads((locked_hello / locks.FILE_NAME).read_text()).base
    assert isinstance(base, DebianBase)
    here, there = (it.cache / "cogsmith" / "files" / "sha256" for it in (cogsmith, made))
    there.mkdir(parents=True)
    for deb in nix_seed.debs_of(base.debs, machine=os.uname().machine):
        os.link(here / deb.sha256, there / deb.sha256)
    with Store.open(made.cache / "cogsmith") as store:
        for key, value in known.items():
            store.remember("nix", key, value)
    return made


def test_what_a_command_made_comes_from_a_registry(
    cogsmith: Cogsmith,
    other: Cogsmith,
    locked_hello: Path,
    nix_store: Path,
    public: Server,  # noqa: F811
    tmp_path: Path,
) -> None:
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    project = Path(shutil.copytree(locked_hello, tmp_path / "project"))
    (project / "cog.yaml").write_text(YAML)
    cogsmith("lock", cwd=project)
    cache = ("--cache-repo", f"{public.host}/team/cache")
    by_nix = ("--locked", "--backend", "nix", "--nix-store", nix_store)
    refused = other("build", *by_nix, cwd=project, ok=False)
    assert "the image has a layer that comes from a command, which Nix does not run" in refused.err
    assert "RUN head -c 20 /dev/urandom > /made-for-nix" in refused.err
    made = cogsmith("build", "--locked", *cache, cwd=project)  # random: made again, the layer would be another
    layer = re.search(r"made ([0-9a-f]{12}) RUN head", made.err)
    assert layer is not None
    blobs = other.cache / "cogsmith" / "blobs" / "sha256"

    # To where the layer is, it need not come here.
    pushed = other("push", *by_nix, *cache, f"{public.host}/team/model:v1", cwd=project)
    assert pushed.out == made.out
    assert f"mounted       {layer[1]}" in pushed.err
    assert not list(blobs.glob(f"{layer[1]}*"))
    built = other("build", *by_nix, *cache, cwd=project)
    assert built.out == made.out
    assert f"pulled {layer[1]} from the cache" in built.err
    assert "run 1/1" not in built.err
    assert list(blobs.glob(f"{layer[1]}*"))
