from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import sandbox
from builder.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened
    if (tmp_path / "store" / "unpacked").exists():
        sandbox.remove_tree(tmp_path / "store")


@pytest.fixture
def containers(tmp_path: Path) -> None:
    """Skips where no container can run."""
    problems = sandbox.check(scratch=tmp_path / "probe")
    if problems:
        pytest.skip(f"no containers on this machine: {problems[0]}")
