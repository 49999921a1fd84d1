from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from builder import sandbox

from .boxes import Box, system_links


@pytest.fixture
def box(tmp_path: Path) -> Box:
    problems = sandbox.check(scratch=tmp_path / "scratch")
    if problems:
        pytest.skip(f"no containers on this machine: {problems[0]}")
    system_links(tmp_path / "lower")
    return Box(folder=tmp_path, lower=tmp_path / "lower", scratch=tmp_path / "scratch", token=f"t{uuid.uuid4().hex}")
