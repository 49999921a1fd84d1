"""`cogsmith lock` for another base: the same words as for a build, and a lock that says which ones they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Cogsmith

pytestmark = pytest.mark.network


def test_a_lock_for_another_base(cogsmith: Cogsmith, locked_hello: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(locked_hello, project)
    text = (project / "cog.yaml").read_text()
    (project / "cog.yaml").write_text(text.replace("build:\n", "build:\n  gpu: true\n", 1))
    assert cogsmith("lock", "--check", cwd=project, ok=False).out == "cog.yaml or the requirements changed\n"
    cogsmith("lock", "--no-layers", "--base", "debian", cwd=project)
    for same in (["--base", "debian"], ["--use-cuda-base-image=false"]):
        assert cogsmith("lock", "--check", *same, cwd=project).out == ""
    other = cogsmith("plan", "--locked", cwd=project, ok=False)
    assert "it was locked with `--base debian`, and that is not what is asked for here" in other.err
    assert cogsmith("plan", "--locked", "--base", "debian", cwd=project).out
    both = cogsmith("lock", "--base", "debian", "--use-cog-base-image", cwd=project, ok=False)
    assert "mutually exclusive" in both.err
