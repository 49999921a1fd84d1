"""What is remembered of a lock: as good as parsing it again, and no more trusted than that."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from small_projects import write_project

from builder import __version__
from builder.cli.locking import parse
from builder.cli.project import find
from builder.lock import dumps, loads
from builder.plan import canonical_json
from builder.store import Store
from tests.conftest import Cogsmith


@pytest.mark.network
@pytest.mark.parametrize("memo", ["{}", '{"surprise": 1}'])
def test_what_another_build_of_this_release_remembered(
    cogsmith: Cogsmith, tiny: Path, tmp_path: Path, memo: str
) -> None:
    folder = write_project(tmp_path / "p", base=f"oci:{tiny}:tiny:amd64")
    cogsmith("lock", "--no-layers", cwd=folder)
    text = (folder / "pylock.cog.toml").read_text()
    project = find(folder)
    key = hashlib.sha256(canonical_json([__version__, os.fspath(project.root), text])).hexdigest()
    with Store.open(tmp_path / "store") as store:
        first = parse(text, project=project, store=store)
        assert store.memo("lock", key) is not None
        store.remember("lock", key, memo)
        assert parse(text, project=project, store=store) == first == loads(text, folder=folder)
        assert dumps(first, folder=folder) == text
