"""An image that can be asked: its files, and its own programs.  What `resolve` knows of it; who runs them is elsewhere.

`cli` hands in what opens one (`project.World.open_image`), for `resolve` starts no program of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from builder.lock import DebianBase, ImageBase
from builder.plan import Remote

FOLDER = "/run/cogsmith/apt"
"""Where a question's folder is seen in the image."""


class Image(Protocol):
    """A base image, unpacked."""

    def read(self, path: str, /) -> bytes | None:
        """The content of the file `/path`, links followed inside the image; nothing if there is none."""

    def names(self, folder: str, /) -> Sequence[str]:
        """The names in `/folder`, sorted; none if there is no such folder."""

    def ask(self, argv: Sequence[str], /, *, env: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
        """Run a program of the image's as root, without network; nothing of it stays.  It sees `folder` at `FOLDER`.

        Returns the exit code, the output and what it wrote to its standard error.  Raises `SandboxError` where this
        machine cannot.
        """


OpenImage: TypeAlias = Callable[[DebianBase | ImageBase, Sequence[Remote]], Image]
"""Opens a base; the remotes are those of its packages."""
