"""`build.run` from the command line to the container: secrets, the cache, failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder import sandbox
from tests.conftest import Cogsmith

YAML = """build:
  python_version: "3.11"
  run:
    - echo "made by $(python -c 'import cog, sys; print(sys.prefix)')" > /made
    - command: wc -c < /run/secrets/token > /size
      mounts: [{{type: secret, id: token, target: /run/secrets/token}}]
    - {last}
run: "run.py:Runner"
"""


@pytest.fixture
def made(project: Callable[[str], Path], tmp_path: Path) -> Path:
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    folder = project("hello-world")
    (folder / "cog.yaml").write_text(YAML.format(last="rm /etc/issue"))
    return folder


def test_commands_of_a_project(cogsmith: Cogsmith, made: Path) -> None:
    env = {"TOKEN": "a-value-that-nobody-sees"}
    refused = cogsmith("build", "-t", "commands", cwd=made, ok=False)
    assert refused.code == 9
    assert "wants the secret `token`" in refused.err
    assert "run 1/3" not in refused.err  # told before anything is run
    secret = ("--secret", "id=token,env=TOKEN")

    (made / "cog.yaml").write_text(YAML.format(last="echo almost && exit 7"))
    failed = cogsmith("build", "-t", "commands", *secret, cwd=made, env=env, ok=False)
    assert failed.code == 9
    assert "run 2/3: wc -c < /run/secrets/token" in failed.err
    assert "run 3/3 | almost" in failed.err
    assert "ended with exit code 7" in failed.err
    assert "hint: `cogsmith build --debug-shell`" in failed.err

    (made / "cog.yaml").write_text(YAML.format(last="rm /etc/issue"))
    built = cogsmith("build", "-t", "commands", *secret, cwd=made, env=env)
    assert "run 3/3: rm /etc/issue" in built.err
    assert "run 1/3:" not in built.err  # from the build before, which stopped at the third
    assert "run 2/3:" not in built.err
    again = cogsmith("build", "-t", "commands", cwd=made)
    assert again.out == built.out
    assert "run 1/3" not in again.err
    answer = cogsmith("run", "commands", "-i", "text=all", cwd=made)
    assert "hello all" in answer.out
    shown = cogsmith("exec", "sh", "-c", "cat /made /size; test -e /etc/issue || echo gone", cwd=made)
    assert shown.out.split("\n")[:3] == ["made by /opt/venv", "24", "gone"]
    plan = cogsmith("plan", "--json", cwd=made).out
    assert env["TOKEN"] not in plan + failed.err + built.err
