"""Show the maintainer scripts of today's base that `builder/layers/debian/table.py` does not know.

    python tests/debian/new_scripts.py

Prints each with its hash, as a line for the table to complete: read the script, name the models that say what it does
on a first installation (or none), then run `python -m pytest tests/debian`, which compares with real bootstraps.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from builder.layers.deb import read_control
from builder.layers.debian.scripts import KINDS, identity, models_of
from builder.report import Quiet
from builder.resolve.debian import PACKAGES, host_mirrors, resolve_debian
from builder.store import Store


def main() -> int:
    unknown: dict[str, str] = {}
    mirrors = host_mirrors(Path("/etc/apt"))
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder)) as store:
        for suite in PACKAGES:
            for architecture in ("amd64", "arm64"):
                base, _, _ = resolve_debian(
                    suite=suite, architecture=architecture, mirrors=mirrors, store=store, report=Quiet()
                )
                for deb in base.debs:
                    control = read_control(store.file_path(deb.sha256))
                    for kind in KINDS:
                        if models_of(control, kind) is None:
                            digest = identity(control, kind)
                            head = f"    # {deb.package} {kind}: {suite} {architecture}, {deb.version}"
                            text = control.files[kind].data.decode(errors="replace")
                            unknown.setdefault(digest, f'{head}\n    "{digest}": (),\n\n{text}\n')
    print("\n".join(unknown.values()) or "every script is known")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
