"""Remove what a container left.  Stdlib only."""

# ruff: noqa: PTH101, PTH104, PTH106, PTH108
# System calls go by their own names here.

from __future__ import annotations

import contextlib
import os
import stat

FAR = 800
"""Bytes of a path below the root of the tree; what lies deeper is moved up before it is removed.

A command can make folders deeper than any path can name, and deeper than this program can call itself.
"""


def remove_tree(path: str) -> None:
    """Remove a file or a tree without following links, opening up directories that bar their own owner."""
    moved: list[str] = []

    def remove(place: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                os.unlink(place)
                return
            if len(place) - len(path) > FAR:
                _open_up(place)  # a folder's owner has to be able to write to it to move it
                above = f"{path}/{os.urandom(8).hex()}"
                os.rename(place, above)
                moved.append(above)
                return
            for name in _names(place):
                remove(name)
            while moved and place == path:
                remove(moved.pop())
            os.rmdir(place)

    remove(path)


def _names(folder: str) -> list[str]:
    _open_up(folder)
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries]


def _open_up(folder: str) -> None:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        os.chmod(folder, 0o700)
