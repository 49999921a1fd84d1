"""Remove what a container left.  Stdlib only."""

# ruff: noqa: PTH101, PTH106, PTH108
# System calls go by their own names here.

from __future__ import annotations

import os
import stat


def remove_tree(path: str) -> None:
    """Remove a file or a tree without following links, opening up directories that bar their own owner."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            os.chmod(path, 0o700)
        with os.scandir(path) as entries:
            children = [entry.path for entry in entries]
        for name in children:
            remove_tree(name)
        os.rmdir(path)
    except FileNotFoundError:
        pass
