"""`cogsmith completion`: the scripts, in the shells that are here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.cli import COMMANDS
from tests.conftest import ROOT, Cogsmith


def complete(cogsmith: Cogsmith, *words: str) -> list[str]:
    """What bash is offered after these words."""
    env = {
        "_COGSMITH_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["cogsmith", *words]),
        "COMP_CWORD": str(len(words)),
    }
    code = "from builder.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=cogsmith.env(env), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_and_options(fresh: Cogsmith) -> None:
    assert complete(fresh, "") == list(COMMANDS)
    assert complete(fresh, "pl") == ["plan", "playground"]
    assert complete(fresh, "doc") == ["doctor"]
    assert "--locked" in complete(fresh, "build", "--lo")
    assert complete(fresh, "build", "--progress", "t") == ["tty"]
    assert complete(fresh, "image", "ex") == ["export"]
    assert "--setup-timeout" in complete(fresh, "run", "--se")
    assert complete(fresh, "completion", "") == ["bash", "zsh", "fish"]


def test_images(two_images: tuple[Path, dict[str, str]]) -> None:
    cogsmith = Cogsmith(two_images[0])
    for command in (["run"], ["serve"], ["image", "inspect"], ["exec", "--image"]):
        assert complete(cogsmith, *command, "ti") == ["tiny:amd64", "tiny:arm64"]
        assert complete(cogsmith, *command, "x") == []


def test_completing_imports_little() -> None:
    """A shell asks at every press of a key."""
    code = (
        "import os, sys\n"
        "os.environ.update(_COGSMITH_COMPLETE='bash_complete', COMP_WORDS='cogsmith ', COMP_CWORD='1')\n"
        "from builder.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('yaml', 'sqlite3', 'requests', 'builder.store', 'http.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_the_shell_s(fresh: Cogsmith, tool: Callable[[str], str], shell: str) -> None:
    script = fresh("completion", shell).out
    assert "_COGSMITH_COMPLETE" in script
    done = subprocess.run([tool(shell), "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_in_bash(fresh: Cogsmith, tool: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "cogsmith").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from builder.cli import main; main()" "$@"\n'
    )
    (tmp_path / "cogsmith").chmod(0o755)
    script = fresh("completion", "bash").out
    ask = "COMP_WORDS=(cogsmith im); COMP_CWORD=1; _cogsmith_completion cogsmith; echo ${COMPREPLY[@]}"
    done = subprocess.run(
        [tool("bash"), "--norc", "-c", f"PATH={tmp_path}:$PATH\n{script}\n{ask}"],
        env=fresh.env(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "image\n", done.stderr


def test_no_such_shell(fresh: Cogsmith) -> None:
    assert fresh("completion", "tcsh", ok=False).code == 2
