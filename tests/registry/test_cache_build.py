"""`--cache-repo` from the command line: what a command made on one machine is not made again on another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from spec_registry import SpecRegistry

from builder import sandbox
from tests.conftest import Cogsmith

YAML = """build:
  python_version: "3.11"
  run:
    - head -c 20 /dev/urandom > /made
    - wc -c < /made > /counted
run: "run.py:Runner"
"""


def test_machines_share_what_commands_made(
    cogsmith: Cogsmith, locked_hello: Path, spec: SpecRegistry, tmp_path: Path
) -> None:
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    folder = Path(shutil.copytree(locked_hello, tmp_path / "project"))
    (folder / "cog.yaml").write_text(YAML)
    cogsmith("lock", cwd=folder)
    repository = f"{spec.host}/team/cache"
    env = {"COGSMITH_CACHE_REPO": repository}
    first = cogsmith("build", "-t", "shared", "--locked", cwd=folder, env=env)
    assert "run 1/2: not in the cache" in first.err
    other = Cogsmith(tmp_path / "other")
    moves = json.loads(other("plan", "--json", "--cache-repo", repository, cwd=folder).out)["transfers"]
    assert [one["state"] for one in moves] == [f"in {repository}"] * (len(moves) - 1) + ["to make"]
    assert all(one["download"] == one["size"] for one in moves[:-1])

    # To a registry that can take the layers from there, nothing need come here.
    pushed = other("push", "-q", "--locked", "--cache-repo", repository, f"{spec.host}/team/model:v1", cwd=folder)
    assert pushed.out == first.out
    assert sum(path.stat().st_size for path in (other.cache / "cogsmith/blobs/sha256").iterdir()) < 100_000
    # A build wants the layers: they are pulled.  No deb, no wheel, no command.
    second = other("build", "-t", "shared", "--locked", "--cache-repo", repository, cwd=folder)
    assert second.out == first.out
    assert second.err.count("from the cache") == len(moves) - 1
    assert "run 1/2" not in second.err
    assert list((other.cache / "cogsmith/files/sha256").iterdir()) == []

    spec.asked.clear()
    again = cogsmith("build", "-t", "shared", "--locked", "--no-cache", cwd=folder, env=env)
    assert again.out != first.out  # run again, whatever the cache has
    assert not [line for line in spec.asked if line.startswith("GET") and line != "GET /v2/"]
