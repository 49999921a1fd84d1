"""`pip install` in `build.run` lands in the model's environment, and is not taken for what was locked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_index import Index, Served

from builder import sandbox
from tests.conftest import Cogsmith

pytestmark = pytest.mark.network  # of the base


def test_pip_install(
    cogsmith: Cogsmith, locked_hello: Path, index: Index, serve: Callable[..., Served], tmp_path: Path
) -> None:
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    project = tmp_path / "project"
    shutil.copytree(locked_hello, project)
    index.add("piped_one", "1.0")
    shutil.copyfile(index.add("piped_two", "1.0"), project / "piped_two-1.0-py3-none-any.whl")
    index.add("piped_two", "2.0")
    url = f"http://{serve(index.root).host}/simple"
    (project / "requirements.txt").write_text("piped_two-1.0-py3-none-any.whl\n")
    (project / "cog.yaml").write_text(
        'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\n  run:\n'
        f"    - pip install --no-cache-dir --index-url {url} piped-one piped-two==2.0\n"
        'run: "run.py:Runner"\n'
    )
    built = cogsmith("build", "-t", "piped", cwd=project)
    assert "Successfully installed piped-one-1.0 piped-two-2.0" in built.err
    code = "import piped_one, piped_two; print(piped_one.__file__, piped_two.version)"
    place = "/opt/venv/lib/python3.11/site-packages/piped_one.py"
    assert cogsmith("exec", "python", "-c", code, cwd=project).out.split() == [place, "2.0"]
    shown = json.loads(cogsmith("image", "inspect", "--json", "piped").out)
    assert shown["config"]["config"]["Labels"]["run.cog.pip_freeze"] == "piped-two==1.0\n"
    unknown = cogsmith("why", "piped-one", cwd=project, ok=False)
    assert "piped-one" in unknown.err
