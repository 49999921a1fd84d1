"""The lock proves itself: another tool that reads it installs the very set that the image holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_index import Index, Told
from uv import find_uv_bin

from builder.lock import DebianBase, Lock, dumps
from builder.plan import Interpreter
from builder.resolve.python import resolve_python
from builder.store import Store


def test_uv_pip_sync(index: Index, store: Store, bare_env: dict[str, str], told: Told, tmp_path: Path) -> None:
    index.add("one", requires=("two>=1", 'never; sys_platform == "win32"'))
    index.add("two", "1.0")
    index.add("two", "2.0")
    inside = index.add("three")
    version = ".".join(map(str, sys.version_info[:3]))
    project = tmp_path / "project"
    project.mkdir()
    (project / inside.name).write_bytes(inside.read_bytes())
    wheels, remotes, _ = resolve_python(
        f"one\n{inside.name}\n",
        project=project,
        python_version=version,
        platform="linux/amd64",
        glibc="2.36",
        store=store,
        env={**bare_env, "PIP_INDEX_URL": index.url},
        report=told,
    )
    lock = Lock(
        config_hash="0" * 64,
        platform="linux/amd64",
        interpreter=Interpreter(path=sys.executable, version=version),
        base=DebianBase(suite="bookworm", architecture="amd64", debs=()),
        wheels=wheels,
        runtime_version="0.1.0",
        runtime_wheels=(),
        remotes=remotes,
    )
    (project / "pylock.cog.toml").write_text(dumps(lock, folder=project))
    if os.uname().machine != "x86_64":
        pytest.skip("the lock is for another platform than this machine")
    uv, env = find_uv_bin(), {**bare_env, "UV_OFFLINE": "1"}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp_path / "venv"], env=env, check=True)
    command = [uv, "pip", "sync", "-q", "--preview", "--python", tmp_path / "venv", "pylock.cog.toml"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    freeze = [uv, "pip", "list", "--format", "freeze", "--python", tmp_path / "venv"]
    installed = subprocess.run(freeze, env=env, capture_output=True, text=True, check=True).stdout
    assert installed.split() == sorted(f"{wheel.name}=={wheel.version}" for wheel in wheels)
    assert installed.split() == ["one==1.0", "three==1.0", "two==2.0"]
