"""What is installed where: by our layer, and by uv and pip, in a form that can be compared with `==`."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from uv import find_uv_bin

PREFIX = "opt/venv"
OWN = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json", "RECORD")
"""Files of a `.dist-info` that tell of the installer, or of the others."""


class File(NamedTuple):
    """A file as compared: its content's hash (of a launcher: what it calls), and whether it is executable."""

    content: str
    executable: bool


Tree = dict[str, File | frozenset[tuple[str, ...]]]
"""Files by path below the environment; for each RECORD its rows."""


def uv() -> Path:
    return Path(find_uv_bin())


def layer_tree(blob: bytes) -> Tree:
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        for member in tar:
            if member.isfile():
                file = tar.extractfile(member)
                assert file
                path = member.name.removeprefix(f"{PREFIX}/")
                _add(tree, path, file.read(), executable=bool(member.mode & 0o100), prefix=f"/{PREFIX}")
    return tree


def layer_files(blob: bytes) -> dict[str, bytes]:
    """What the files in a layer hold, by path."""
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


def installed_tree(tool: str, wheels: Sequence[Path], *, folder: Path) -> Tree:
    """Install with `uv` or `pip` into a new environment of Python 3.11 at `folder`, and say what came to it."""
    python = folder / "bin/python"
    _run([uv(), "venv", "--python", "3.11", "--offline", folder])
    before = {path for path in folder.rglob("*") if not path.is_dir()}
    options = ["--no-deps", "--no-index", "-q", *wheels]
    if tool == "uv":
        command = [uv(), "pip", "install", "--python", python, "--offline", "--link-mode", "copy", *options]
    else:
        if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
            pytest.skip("needs `pip`")
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-compile", *options]
    _run(command)
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in before and path.relative_to(folder).parts[0] not in ("lib64", ".lock"):
            executable = bool(path.stat().st_mode & 0o100)
            _add(
                tree, path.relative_to(folder).as_posix(), path.read_bytes(), executable=executable, prefix=str(folder)
            )
    return tree


def _run(command: Sequence[str | Path]) -> None:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def _add(tree: Tree, path: str, data: bytes, *, executable: bool, prefix: str) -> None:
    name = path.rpartition("/")[2]
    if ".dist-info/" in path and name in OWN:
        if name == "RECORD":
            tree[path] = _rows(data)
        return
    if path.endswith(".pyc"):
        return
    tree[path] = File(_launched(path, data, prefix=prefix) or hashlib.sha256(data).hexdigest(), executable)


def _rows(data: bytes) -> frozenset[tuple[str, ...]]:
    # A launcher's text is the installer's own, and so is its hash.
    rows = csv.reader(io.StringIO(data.decode(), newline=""))
    return frozenset(
        (row[0],) if row[0].startswith("../../../bin/") else tuple(row)
        for row in rows
        if not row[0].endswith(tuple(f".dist-info/{name}" for name in OWN)) and not row[0].endswith(".pyc")
    )


def _launched(path: str, data: bytes, *, prefix: str) -> str:
    """What a script in `bin` calls, or its text without its first line; checks that this names the environment."""
    if not path.startswith("bin/") or not data.startswith((b"#!" + prefix.encode(), b"#!/bin/sh\n'''exec' ")):
        return ""
    lines = data.decode().splitlines()
    start = 3 if lines[0] == "#!/bin/sh" else 1
    assert f"{prefix}/bin/python" in "\n".join(lines[:start])
    text = "\n".join(lines[start:])
    if "sys.exit(" not in text or "__main__" not in text:
        return text
    module = ast.parse(text)
    imported = [ast.unparse(node) for node in module.body if isinstance(node, ast.ImportFrom)]
    return f"{imported} {text.rsplit('sys.exit(')[1]}"
