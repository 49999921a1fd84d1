from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import sandbox
from builder.plan import BaseLayer
from builder.store import Store

from .bases import base_tar, put_base


@pytest.fixture(scope="session")
def tar() -> bytes:
    """The layer of the base."""
    return base_tar()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store; skips, aloud, where no command can run over an image."""
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    with Store.open(tmp_path / "store") as opened:
        yield opened
    sandbox.remove_tree(tmp_path / "store")


@pytest.fixture
def base(store: Store, tar: bytes) -> BaseLayer:
    """The base, in the store."""
    return put_base(store, tar)
