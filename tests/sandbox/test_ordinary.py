"""The same tests by a user who is not root, in a session of their own."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NEEDED = (
    *("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "packaging", "zstandard", "pygments"),
    "pytest_rerunfailures.py",
)

LEFT_OUT = (
    "test_ordinary.py",
    "test_bombs.py",
    "test_playground.py",
    "test_inputs.py",
    "test_outputs.py",
    "test_same.py",
    "test_commands.py",
    "test_foreign_lock.py",
    "test_handover.py",
    "test_large_answer.py",
    "test_podman.py",
)
"""This file, what knows no users, and what looks at both itself."""


def give_pytest(home: Path) -> Path:
    """Copies of what the tests need, where that user can read them."""
    lib = home / "pytest-lib"
    if not lib.exists():
        lib.mkdir()
        for name in NEEDED:
            found = next((Path(folder, name) for folder in sys.path if Path(folder, name).exists()), None)
            if found is not None and found.is_file():
                shutil.copy(found, lib)
            elif found is not None:
                shutil.copytree(found, lib / name, ignore=shutil.ignore_patterns("__pycache__"))
    return lib


@pytest.mark.parametrize("folder", ["sandbox", "engine", "executed"])
def test_as_an_ordinary_user(ordinary: Any, folder: str) -> None:
    lib = give_pytest(ordinary.home)
    tests = ordinary.give(HERE.parent / folder, f"tests-of-{folder}/{folder}")
    done = ordinary.run(
        *("-m", "pytest", "-q", "-raR", "-p", "no:cacheprovider", "-p", "pytest_rerunfailures", "--reruns=2"),
        *(f"--ignore={tests / name}" for name in LEFT_OUT),
        *("--rootdir", str(tests.parent), f"--basetemp={ordinary.home}/pytest-{folder}", str(tests)),
        cwd=tests.parent,
        env={"PYTHONPATH": f"{ordinary.home}/lib:{lib}", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=600,
    )
    text = done.stdout + done.stderr
    print(text)
    assert done.returncode == 0, text[-8000:]
    assert " passed" in text
    for line in done.stdout.splitlines():
        if line.startswith("RERUN "):
            warnings.warn(f"{line} (as an ordinary user)", stacklevel=1)
