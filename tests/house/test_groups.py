"""Tests that share something costly run in one worker: that the marks for it have an effect."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


@pytest.mark.xdist_group("house")
@pytest.mark.parametrize("number", range(6))
def test_a_group_stays_together(number: int, shared: Path) -> None:
    """Without it, every worker makes what a group makes once, and nothing fails."""
    place = shared / "worker-of-the-house-group"
    try:
        with place.open("x") as file:
            file.write(WORKER)
    except FileExistsError:
        assert place.read_text() == WORKER
