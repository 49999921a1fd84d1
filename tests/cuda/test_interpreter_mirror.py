"""`UV_PYTHON_INSTALL_MIRROR`: uv's own address with another beginning, and uv's own hash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from builder.cli.console import Console
from builder.errors import ResolveError
from builder.resolve.interpreter import resolve_interpreter
from builder.store import Store
from tests.cuda.ranges import served

RELEASES = "https://github.com/astral-sh/python-build-standalone/releases/download"
DATA = b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
ABI = "x86_64-linux-gnu"
NAME = "cpython-3.12.1%2B20250101-{machine}-unknown-linux-gnu-install_only_stripped.tar.gz"


@pytest.fixture
def listing(tmp_path: Path) -> dict[str, str]:
    """A mirror's folder with the archive for amd64 alone, and the settings that make uv know it, arm64's too."""
    folder = tmp_path / "mirror" / "20250101"
    folder.mkdir(parents=True)
    archive = folder / NAME.format(machine="x86_64")  # this server takes addresses as they are
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("python/bin/python3.12", f"python/lib/python3.12/_sysconfigdata__linux_{ABI}.py"):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(DATA), 0o755
            tar.addfile(info, io.BytesIO(DATA))
    known = {
        f"cpython-3.12.1-linux-{machine}-gnu": {
            "name": "cpython",
            "arch": {"family": machine, "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": 3,
            "minor": 12,
            "patch": 1,
            "prerelease": "",
            "url": f"{RELEASES}/20250101/{NAME.format(machine=machine)}",
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "variant": None,
            "build": "20250101",
        }
        for machine in ("x86_64", "aarch64")
    }
    (tmp_path / "pythons.json").write_text(json.dumps(known))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS_JSON_URL": (tmp_path / "pythons.json").as_uri(),
    }


def test_a_mirror_in_place_of_the_releases(listing: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path / "mirror") as sent, Store.open(tmp_path / "store") as store:
        env = {**listing, "UV_PYTHON_INSTALL_MIRROR": sent.url}
        python, archive, remote = resolve_interpreter(
            "3.12", platform="linux/amd64", store=store, env=env, report=Console(quiet=True)
        )
        assert store.has_file(archive.sha256)
    path = f"/20250101/{NAME.format(machine='x86_64')}"
    assert (python.version, python.path) == ("3.12.1", "/opt/python/3.12.1/bin/python3.12")
    mirrored, own = remote.urls  # who has no mirror finds it, too
    assert mirrored == sent.url + path
    assert own.startswith("https://")
    assert own.endswith(path)


def test_a_mirror_that_lacks_the_file(listing: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path / "mirror") as sent, Store.open(tmp_path / "store") as store:
        env = {**listing, "UV_PYTHON_INSTALL_MIRROR": sent.url}
        with pytest.raises(ResolveError) as caught:
            resolve_interpreter("3.12", platform="linux/arm64", store=store, env=env, report=Console(quiet=True))
    assert caught.value.brief == "could not get cpython-3.12.1-linux-aarch64-gnu"
    assert f"{sent.url}/20250101/{NAME.format(machine='aarch64')}" in str(caught.value.details)
    assert str(caught.value.hint).startswith("the mirror that `UV_PYTHON_INSTALL_MIRROR` names must have this file")
