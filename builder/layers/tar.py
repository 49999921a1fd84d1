"""The one tar writer: ustar headers, with PAX records only where ustar has no room.  Pure; no I/O."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from builder.layers.content import Content

MemberType: TypeAlias = Literal["file", "dir", "symlink", "hardlink", "fifo", "char", "block"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of a layer.

    `path` is relative to the image's root, `/`-separated, without a leading or trailing slash.  `mode` holds
    permission bits only (setuid, setgid and sticky included).  `linkname` is the target of a symbolic link as it
    stands, or the path of another member for a hard link.  `content` is there for files, and only for them.
    `xattrs` are pairs of full name (`security.capability`) and value.
    """

    path: str
    type: MemberType = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    linkname: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    major: int = 0
    minor: int = 0
    content: Content | None = None

    @property
    def size(self) -> int:
        """Bytes of content; 0 for anything but a file."""
        return self.content.size if self.content is not None else 0
