"""What the tests of the store look at and arrange."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from builder.store import Store


def verify(root: Path) -> int:
    """Every blob and input has the content that its name says; how many there are."""
    count = 0
    for folder in (root / "blobs" / "sha256", root / "files" / "sha256"):
        for path in folder.iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            count += 1
    return count


def kinds(store: Store) -> dict[str, tuple[int, int]]:
    return {usage.kind: (usage.count, usage.size) for usage in store.usage()}


def old(path: Path, age: int) -> None:
    """Make a thing look last used `age` seconds ago."""
    now = time.time()
    os.utime(path, (now - age, now - age))
