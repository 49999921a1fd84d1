"""Both servers, one pair for each model, started when a case first needs it and ended with the session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from two_servers import Pairs, upstream_python


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    with Pairs(tmp_path_factory.mktemp("differential"), upstream=upstream_python()) as pairs:
        yield pairs
