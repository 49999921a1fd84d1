"""The layers below a step, unpacked, as one tree: looked up folder by folder, never read whole.

Reads the folders that it is handed, as an overlay would merge them; follows no link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Sequence
from pathlib import Path

from builder.layers.root import Node
from builder.layers.tree import from_disk

OPAQUE_XATTRS = ("user.overlay.opaque", "trusted.overlay.opaque")
WHITEOUT_XATTR = "user.overlay.whiteout"


class Folders:
    """Unpacked layers, the base first; each with the whiteouts and opaque folders of an overlay."""

    def __init__(self, folders: Sequence[Path]) -> None:
        top_first = tuple(os.fspath(folder) for folder in reversed(folders))
        self._stacks: dict[str, tuple[str, ...]] = {"": top_first}

    def node(self, path: str) -> Node | None:
        """What is at `path`; nothing where a parent is no folder."""
        found = self._find(path)
        return None if found is None else from_disk(Path(found[0]), found[1])

    def identity(self, path: str) -> Hashable:
        """Device and inode of a file with several names."""
        found = self._find(path)
        return None if found is None or found[1].st_nlink < 2 else (found[1].st_dev, found[1].st_ino)

    def names(self, folder: str) -> Sequence[str]:
        """The names in a folder of the merged tree, sorted."""
        seen: dict[str, bool] = {}
        for place in self._stack(folder):
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name not in seen:
                        seen[entry.name] = not is_whiteout(entry.path, entry.stat(follow_symlinks=False))
        return sorted(name for name, there in seen.items() if there)

    def _find(self, path: str) -> tuple[str, os.stat_result] | None:
        parent, _, name = path.rpartition("/")
        for place in self._stack(parent) if name != ".." else ():  # or it would be a way out of the layers
            whole = f"{place}/{name}" if name else place
            try:
                status = os.lstat(whole)
            except FileNotFoundError:
                continue
            return None if is_whiteout(whole, status) else (whole, status)
        return None

    def _stack(self, folder: str) -> tuple[str, ...]:
        """The places that show through at `folder`, the top one first."""
        known = self._stacks.get(folder)
        if known is not None:
            return known
        parent, _, name = folder.rpartition("/")
        places: list[str] = []
        for place in self._stack(parent) if name != ".." else ():
            whole = f"{place}/{name}"
            try:
                status = os.lstat(whole)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            places.append(whole)
            if is_opaque(whole):
                break
        self._stacks[folder] = tuple(places)
        return self._stacks[folder]


def is_whiteout(path: str, status: os.stat_result) -> bool:
    """Whether this hides what lies below: a device 0:0, or by attribute (an empty file, where those cannot be)."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    return stat.S_ISREG(status.st_mode) and status.st_size == 0 and attribute(path, WHITEOUT_XATTR) is not None


def is_opaque(folder: str) -> bool:
    """Whether nothing of the layers below shows through in this folder."""
    return any(attribute(folder, name) == b"y" for name in OPAQUE_XATTRS)


def attribute(path: str, name: str) -> bytes | None:
    """An extended attribute, if it is there."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return None
