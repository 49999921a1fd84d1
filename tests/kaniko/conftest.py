from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from executed.bases import base_tar, put_base

from builder import sandbox
from builder.plan import BaseLayer
from builder.store import Store


@pytest.fixture
def executor() -> str:
    """The real executor; skips, aloud, where nobody says where one is."""
    path = os.environ.get("COGSMITH_KANIKO_EXECUTOR")
    if not path:
        pytest.skip("COGSMITH_KANIKO_EXECUTOR names no executor of Kaniko's")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store; skips, aloud, where no command can run over an image."""
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    with Store.open(tmp_path / "store") as opened:
        yield opened
    sandbox.remove_tree(tmp_path / "store")


@pytest.fixture(scope="session")
def tar() -> bytes:
    """The layer of a small base."""
    return base_tar()


@pytest.fixture
def base(store: Store, tar: bytes) -> BaseLayer:
    """That base, in the store."""
    return put_base(store, tar)
