"""The same layers, byte for byte: again, on another day, and by another user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder import sandbox
from builder.store import Store

from .digests import digests


def test_again(store: Store, tar: bytes) -> None:
    once = digests(tar, store.root)
    assert digests(tar, store.root, fresh=True) == once
    assert len(set(once)) == len(once)


def test_an_ordinary_user_makes_the_same(ordinary: Any, store: Store, tar: bytes, tmp_path: Path) -> None:
    """Of whom the whole of these tests is true as well."""
    here = Path(__file__).parent
    given = ordinary.give(here, "tests-of-executed/executed")
    (given.parent / "base.tar").write_bytes(tar)
    done = ordinary.run(
        *("-m", "executed.digests", str(given.parent / "base.tar"), str(ordinary.home / "executed-store")),
        cwd=given.parent,
        timeout=300,
    )
    if "subuid" in done.stderr or "uidmap" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == digests(tar, store.root)
    assert not (ordinary.home / "executed-store").exists()
    assert sandbox.all_ids()
