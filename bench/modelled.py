"""System packages that Nix can install without running anything: each as its installation leaves it, byte for byte?

    python bench/modelled.py [--suite bookworm] [NAME ...]

For each name with all that it needs: the maintainer scripts that are not known; or whether what is made of the
packages alone has the digest of their installation by the base's own apt and dpkg.  Without names, what Cog models ask
for.  Ends with 1 where a digest differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from packages import USED, made, members, plan_of

from builder.cli.settings import read
from builder.codec import codec_for
from builder.layers.debian.installed import unmodelled
from builder.layers.pack import pack
from builder.plan import PackagesLayer, Plan, to_plain
from builder.store import Store


def same(plan: Plan, *, store: Store) -> str:
    """What is told of the packages of a plan: a layer of them over a base."""
    base, layer = plan.layers
    assert isinstance(layer, PackagesLayer)
    unknown = unmodelled(store.file_path(deb.sha256) for deb in layer.debs)
    if unknown:
        return f"has to be run: {', '.join(unknown)}"
    installed = made(plan, store=store)[-1]
    with tempfile.TemporaryDirectory(prefix="cogsmith-bench-") as folder:
        path = Path(folder, "layer")
        with path.open("wb") as out:
            packed = pack(
                {**to_plain(layer), "base": to_plain(base)},
                inputs={remote.sha256: store.file_path(remote.sha256) for remote in plan.remotes},
                out=out,
                codec=codec_for(plan.codec, plan.compression),
                compression=plan.compression,
                threads=len(os.sched_getaffinity(0)),
            )
        if packed.digest == installed.digest:
            return f"the same: {packed.digest}"
        store.adopt(path, packed.digest)
        here, there = members(packed, store=store), members(installed, store=store)  # type: ignore[arg-type]
        paths = [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
        return "DIFFERS: " + ", ".join(paths)


def main() -> None:
    """Print a line for each name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="bookworm", choices=["bookworm", "trixie"])
    parser.add_argument("names", nargs="*", default=list(USED))
    given = parser.parse_args()
    failed = False
    with Store.open(read().store_root) as store:
        for name in given.names:
            plan = plan_of((name,), suite=given.suite, store=store)
            told = same(plan, store=store)
            failed = failed or told.startswith("DIFFERS")
            print(f"{name}: {told}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
