"""A flake that builds an image with Nix alone: the plan as data, the expressions and the packer that read it.  Pure.

The expressions are Cogsmith's own `nix/`, copied and not generated; only the flake and its README are templates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder.emit.files import Emitted, sums, text
from builder.emit.words import templates
from builder.frozen import frozen
from builder.plan import Entry, FilesLayer, Plan, RuntimeLayer

PACKER = ("__init__.py", "codec.py", "errors.py", "frozen.py", "oci.py")
FOLDERS = ("layers", "plan")
"""What `nix/packer.nix` takes of `builder/`."""


@frozen
class Flake:
    """What shapes the folder.

    `document` is what `nix/default.nix` reads, `executed` the titles and digests of layers that come from commands.
    `system` is that of the seed, and empty with `nixpkgs`, whose Python runs the packer instead.
    """

    name: str
    version: str
    document: Mapping[str, Any]
    executed: tuple[tuple[str, str], ...] = ()
    system: str = ""
    nixpkgs: bool = False


def flake(
    spec: Flake,
    plan: Plan,
    *,
    files: Mapping[str, Path],
    own: Mapping[str, Path],
    root: Path,
    tools: Iterable[Path],
) -> list[Emitted]:
    """The files of the folder.

    `files` has the project's and the runtime's by sha256, `own` the downloads that are on no server.  `root` is the
    folder that holds `builder/` and `nix/`, `tools` are the folders `seed` and `codec`.
    """
    entries = [entry for layer in plan.layers if isinstance(layer, FilesLayer) for entry in layer.entries]
    large = [
        e for layer in plan.layers if isinstance(layer, FilesLayer) and layer.role == "weights" for e in layer.entries
    ]
    runtime = [entry for layer in plan.layers if isinstance(layer, RuntimeLayer) for entry in layer.files]
    values = {
        "name": spec.name,
        "version": spec.version,
        "platform": plan.platform,
        "nixpkgs": spec.nixpkgs,
        "system": spec.system,
        "large": large,
        "executed": [{"title": title, "digest": digest} for title, digest in spec.executed],
    }
    made = [
        text("flake.nix", templates().get_template("nix/flake.j2").render(values)),
        text("README.md", templates().get_template("nix/readme.j2").render(values)),
        text("plan.json", json.dumps(spec.document, indent=1, sort_keys=True) + "\n"),
        *_folder(root / "nix", "nix"),
        *(_file(root / "builder" / name, f"builder/{name}") for name in PACKER),
        *(item for name in FOLDERS for item in _folder(root / "builder" / name, f"builder/{name}")),
        *_entries(runtime, files=files, folder="runtime"),
        *_entries([entry for entry in entries if entry not in large], files=files, folder="src"),
        *(Emitted(path=f"files/{sha256}", source=path, sha256=sha256) for sha256, path in sorted(own.items())),
        *(item for folder in tools for item in _folder(folder, folder.name)),
    ]
    if not own:
        made.append(text("files/README", "Files that are on no server lie here, each named by its sha256.\n"))
    if not any(file.path.startswith("src/") for file in made):
        made.append(Emitted(path="src", mode=0o755))
    return [*made, sums(made)]


def _entries(entries: Iterable[Entry], *, files: Mapping[str, Path], folder: str) -> list[Emitted]:
    return [
        Emitted(path=f"{folder}/{e.path}", mode=e.mode & 0o777, source=files[e.sha256], sha256=e.sha256)
        for e in entries
        if e.type == "file" and e.size
    ]


def _folder(folder: Path, name: str) -> list[Emitted]:
    found = []
    for path in sorted(folder.rglob("*")):
        inside = f"{name}/{path.relative_to(folder).as_posix()}"
        if "__pycache__" in path.parts or path.name == "flake.nix":
            continue
        if path.is_symlink():
            found.append(Emitted(path=inside, target=str(path.readlink())))
        elif path.is_file():
            found.append(_file(path, inside))
    return found


def _file(path: Path, name: str) -> Emitted:
    return Emitted(path=name, mode=0o755 if path.stat().st_mode & 0o100 else 0o644, data=path.read_bytes())
