"""The examples by Nix, in caches that have downloads and nothing made of them: the digests of the embedded backend.

Those whose lock is that of hello-world.  `bench/nix.py --examples` does it for all, with several releases of Nix.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from builder import lock as locks
from builder.store import Store
from tests.conftest import Cogsmith, give_inputs

EXAMPLES = ("hello-world", "archive", "concurrent", "secret", "streaming", "structured", "subfolder", "training")


def test_the_digests_of_the_embedded_backend(
    cogsmith: Cogsmith,
    project: Callable[[str], Path],
    locked_hello: Path,
    nix_store: Path,
    known: dict[str, str],
    tmp_path: Path,
) -> None:
    other = Cogsmith(tmp_path / "other")
    give_inputs(cogsmith, locked_hello, other)
    with Store.open(other.cache / "cogsmith") as store:
        for key, value in known.items():
            store.remember("nix", key, value)
    for name in EXAMPLES:
        folder = project(name)
        shutil.copyfile(locked_hello / locks.FILE_NAME, folder / locks.FILE_NAME)
        made = other("build", "--locked", "--backend", "nix", "--nix-store", nix_store, cwd=folder)
        assert "code in /src" in made.err, f"{name}: nothing was made"
        assert made.out == cogsmith("build", "--locked", cwd=folder).out, name
