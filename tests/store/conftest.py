"""A store of the test's own, and an image for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_images import add_image, two_layers

from builder.store import Store, StoredImage


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def make_image() -> Callable[[Store, str], StoredImage]:
    return lambda store, name: add_image(store, name, two_layers(store))
