"""What `nix/default.nix` reads: the plan with the key, title and digest of each layer, and folders of files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.plan import DebianLayer, Entry, Layer, Locked, PackagesLayer, Plan, RunLayer, layer_key, title, to_plain


def document(
    plan: Plan, *, known: Mapping[str, Locked] | None = None, nix_packages: Sequence[str] = ()
) -> dict[str, Any]:
    """The plan as JSON, with what Nix cannot work out: `keys` and `titles` of the layers in order.

    `known` are the digests that count instead of the lock's, by key; `nix_packages` what a nixpkgs adds to the image.
    """
    data = plan.to_json()
    keys = [layer_key(layer, compression=plan.compression, codec=plan.codec) for layer in plan.layers]
    locked = {one.key: one for one in plan.locked} if known is None else known
    data["keys"] = keys
    data["titles"] = [title(layer) for layer in plan.layers]
    data["locked"] = [to_plain(locked[key]) for key in dict.fromkeys(keys) if key in locked]
    if nix_packages:
        data["nix_packages"] = list(nix_packages)
    return data


def is_executed(layer: Layer) -> bool:
    """Whether the bytes come from a command, so that Nix cannot make them."""
    return isinstance(layer, RunLayer | PackagesLayer) or (isinstance(layer, DebianLayer) and layer.executed)


def folder_of(entries: Iterable[Entry], *, local: Mapping[str, Path], draft: Path) -> Path:
    """A folder that has the files `entries` under their own paths.

    The one that they come from; where they lie elsewhere (`local`: sha256 → path), `draft`, with links or copies.
    """
    files = [entry for entry in entries if entry.type == "file" and entry.size]
    roots = {_above(local[entry.sha256], path_inside=entry.path) for entry in files if entry.sha256 in local}
    for root in sorted(root for root in roots if root is not None):
        if all((root / entry.path).is_file() for entry in files):
            return root
    draft.mkdir()
    for entry in files:
        place = draft / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.hardlink_to(local[entry.sha256])
        except OSError:
            shutil.copyfile(local[entry.sha256], place)
    return draft


def _above(path: Path, *, path_inside: str) -> Path | None:
    """The folder in which `path` is `path_inside`."""
    depth = len(path_inside.split("/"))
    if depth > len(path.parents) or path.parts[-depth:] != tuple(path_inside.split("/")):
        return None
    return path.parents[depth - 1]
