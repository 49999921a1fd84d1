"""Fixtures of the resolution's tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_index import Index, Served, Told

from builder.store import Store


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def bare_env(tmp_path: Path) -> dict[str, str]:
    """An environment in which neither pip nor uv has any setting, and uv a cache of its own."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.fspath(home),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": os.fspath(tmp_path / "uv-cache"),
    }


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


@pytest.fixture
def second_index(tmp_path: Path) -> Index:
    return Index(tmp_path / "second")


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(folder: Path, user: str = "") -> Served:
        running.append(Served(folder, user=user))
        return running[-1]

    yield start
    for server in running:
        server.close()
