"""The Pythons of this machine that the SDK is for."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

SUPPORTED = [f"3.{minor}" for minor in range(8, 15)]


@cache
def interpreters() -> dict[str, Path]:
    """One CPython of each version from 3.8 to 3.14 that there is, by version."""
    found: dict[str, Path] = {}
    for version in SUPPORTED:
        candidates = [
            *sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python")),
            Path(f"/usr/local/bin/python{version}"),
            Path(f"/usr/bin/python{version}"),
        ]
        if version == f"3.{sys.version_info[1]}":
            candidates.insert(0, Path(sys.executable))
        for path in candidates:
            if path.exists() and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found[version] = path
                break
    return found
