"""What an emission is: files by path, for whoever writes them.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from builder.frozen import frozen

SUMS = "SHA256SUMS"
"""Lists the files of a folder that was emitted, as sha256sum(1) does and checks."""


@frozen
class Emitted:
    """A file: its content is `data`, or that of the file `source` of this machine; or a link to `target`.

    An empty folder has none of these.  `sha256` is that of a `source`.
    """

    path: str
    mode: int = 0o644
    data: bytes | None = None
    source: Path | None = None
    sha256: str = ""
    target: str = ""


def text(path: str, content: str) -> Emitted:
    """A text file."""
    return Emitted(path=path, data=content.encode())


def sums(files: Iterable[Emitted]) -> Emitted:
    """The list of `files` that have content, in the form of sha256sum(1)."""
    lines = []
    for file in sorted(files, key=lambda file: file.path.encode()):
        if file.data is None and file.source is None:
            continue
        digest = file.sha256 if file.data is None else hashlib.sha256(file.data).hexdigest()
        name = file.path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{'' if name == file.path else chr(92)}{digest}  {name}\n")
    return text(SUMS, "".join(lines))


def sealed(content: str, *, comment: str) -> str:
    """A text whose first line says who made it, and by its hash whether somebody changed it since.

    For single files that lie among a user's own; `comment` begins the line.
    """
    return f"{comment} Made by Cogsmith; unchanged while this is its hash: {_hash(content)}\n{content}"


def is_sealed(text: str) -> bool:
    """Whether a text is as `sealed` made it."""
    first, newline, rest = text.partition("\n")
    return bool(newline) and "Made by Cogsmith" in first and first.endswith(_hash(rest))


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
