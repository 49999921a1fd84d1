"""A tree that programs wrote, as what belongs in a layer: read, and rid of what differs from run to run.

Standard library only.  The tree comes as a folder on disk, or as the tar stream of one whose owners only the sandbox
can tell.
"""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import BinaryIO

from builder.errors import LayerError
from builder.layers.content import FileSlice, Spooled
from builder.layers.root import Node, Root
from builder.layers.tar import MemberType
from builder.layers.untar import Bounded

XATTRS = ("security.capability",)
"""Extended attributes that a layer keeps."""

VOLATILE = (
    ("etc/.pwd.lock", "a lock"),
    ("etc/group-", "a backup of what was before"),
    ("etc/gshadow-", "a backup"),
    ("etc/passwd-", "a backup"),
    ("etc/shadow-", "a backup"),
    ("etc/subgid-", "a backup"),
    ("etc/subuid-", "a backup"),
    ("etc/hostname", "whoever runs the container mounts its own"),
    ("etc/hosts", "whoever runs the container mounts its own"),
    ("etc/resolv.conf", "whoever runs the container mounts its own"),
    ("var/cache/apt/archives/*.deb", "downloaded packages"),
    ("var/cache/apt/archives/lock", "a lock"),
    ("var/cache/apt/*.bin", "apt's own index, rebuilt at every change"),
    ("var/cache/debconf/*", "debconf loads templates again from the packages whenever it configures one"),
    ("var/cache/ldconfig/aux-cache", "holds inode numbers and times"),
    ("var/lib/apt/lists/*", "indexes, old by the time the image runs"),
    ("var/lib/dpkg/*-old", "a backup"),
)
"""Paths that differ from run to run, or that no image should hold, each with its reason; `*` stands for no `/`.

Also dropped, wherever they are: `__pycache__` folders, files with content below `/var/log`, everything below `/dev`,
`/proc` and `/sys`, and files below `/run` and `/tmp`.
"""

KEPT = ("var/lib/apt/lists/partial",)
"""What a pattern of `VOLATILE` matches and a package owns."""

LEFT_BY_STEPS = (
    ("root/.cache/pip", "what pip downloaded"),
    ("root/.cache/uv", "what uv downloaded"),
    ("root/.wget-hsts", "holds the time"),
)
"""What commands of a user leave besides, and nobody means to ship."""

_VOLATILE_STARTS = ("etc/", "var/", "root/.")
"""What a path begins with that any of those patterns may match."""

MOUNTS = ("dev", "proc", "sys")
"""Folders that are empty in an image: whoever runs it mounts what belongs there."""

_TYPES: dict[bytes, MemberType] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}


def volatile(path: str, node: Node) -> bool:
    """Whether what a step left at `path` (where no link leads) differs from run to run; see `VOLATILE`.

    Unlike in a whole system, what a step puts into `/tmp` stays: the next one may want it.
    """
    if path.startswith("run/"):
        return node.type != "dir"
    if path.startswith("var/log/"):
        return node.type == "file" and node.content is not None and node.content.size > 0
    if not path.startswith(_VOLATILE_STARTS) or path in KEPT:
        return False
    return any(_matches(path, pattern) for pattern, _ in (*VOLATILE, *LEFT_BY_STEPS))


def _matches(path: str, pattern: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return path == pattern
    name = path[len(before) : len(path) - len(after)]
    return (
        len(path) >= len(before) + len(after) and path.startswith(before) and path.endswith(after) and "/" not in name
    )


def read_folder(folder: Path, *, epoch: int) -> Root:
    """A folder on disk as a tree, with owners, hard links and capabilities as they are there.  Sockets are left out.

    Content stays on disk and is read when the layer is packed.
    """
    root = Root(epoch=epoch)
    linked: dict[tuple[int, int], Node | None] = {}
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                found = entry.stat(follow_symlinks=False)
                node = linked.get((found.st_dev, found.st_ino))
                if node is None:
                    node = from_disk(path, found)
                    if node is None:
                        continue
                    if found.st_nlink > 1 and node.type == "file":
                        linked[(found.st_dev, found.st_ino)] = node
                root.place(os.fspath(path.relative_to(folder)), node)
                if node.type == "dir":
                    pending.append(path)
    return root


def read_tar(spool: BinaryIO, *, epoch: int) -> Root:
    """A tar archive in a temporary file as a tree; content stays there and is read when the layer is packed."""
    root = Root(epoch=epoch)
    spool.seek(0)
    try:
        with tarfile.open(fileobj=spool, mode="r:", encoding="utf-8", tarinfo=Bounded) as tar:
            for info in tar:
                _place_tar(info, root=root, spool=spool)
    except (tarfile.TarError, ValueError, EOFError) as problem:
        raise LayerError(f"the archive of the tree is damaged: {problem}") from problem
    return root


def normalise(root: Root) -> None:
    """Drop what differs from run to run (`VOLATILE`), empty `/etc/machine-id`, and free the places of mounts."""
    for pattern, _ in VOLATILE:
        folder, _, name = pattern.rpartition("/")
        before, star, after = name.partition("*")
        for found in root.names(folder) if star else [name]:
            path = f"{folder}/{found}"
            if path not in KEPT and (not star or (found.startswith(before) and found.endswith(after))):
                root.remove(path)
    for path, node in list(root.walk("")):
        parts = path.split("/")
        if (
            (len(parts) > 1 and parts[0] in MOUNTS)
            or (parts[0] in ("run", "tmp") and node.type != "dir")
            or (path.startswith("var/log/") and node.content is not None and node.content.size)
            or parts[-1] == "__pycache__"
        ):
            root.remove(path)
    for name in MOUNTS:
        place = root.node(name)
        if place is not None and place.type == "dir":
            place.mode, place.uid, place.gid = 0o755, 0, 0
    if root.exists("etc/machine-id"):
        root.write("etc/machine-id", "")


def from_disk(path: Path, found: os.stat_result) -> Node | None:
    """The node for what lies at `path` on disk, and is `found` (lstat) there; nothing for a socket."""
    kind = _kind(found.st_mode)
    if kind is None:
        return None
    node = Node(
        type=kind, mode=stat.S_IMODE(found.st_mode), uid=found.st_uid, gid=found.st_gid, mtime=int(found.st_mtime)
    )
    if kind == "file":
        node.content = FileSlice(path=path, size=found.st_size)
        present = os.listxattr(path, follow_symlinks=False) if hasattr(os, "listxattr") else ()
        node.xattrs = tuple((name, os.getxattr(path, name)) for name in XATTRS if name in present)
    elif kind == "symlink":
        node.target, node.mode = os.readlink(path), 0o777  # noqa: PTH115 - as it stands: Path would tidy it up
    elif kind in ("char", "block"):
        node.major, node.minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return node


def _kind(mode: int) -> MemberType | None:
    tests: tuple[tuple[int, MemberType], ...] = (
        (stat.S_IFREG, "file"),
        (stat.S_IFDIR, "dir"),
        (stat.S_IFLNK, "symlink"),
        (stat.S_IFIFO, "fifo"),
        (stat.S_IFCHR, "char"),
        (stat.S_IFBLK, "block"),
    )
    return next((kind for bits, kind in tests if stat.S_IFMT(mode) == bits), None)


def _place_tar(info: tarfile.TarInfo, *, root: Root, spool: BinaryIO) -> None:
    path = "/".join(part for part in info.name.split("/") if part not in ("", "."))
    kind = _TYPES.get(info.type)
    if not path:
        return
    if kind is None or ".." in path.split("/"):
        raise LayerError(f"the archive of the tree holds `{info.name}`, which no layer can hold")
    if kind == "hardlink":
        other = root.node(info.linkname.removeprefix("./"))
        if other is None:
            raise LayerError(f"the archive of the tree links `{info.name}` to `{info.linkname}`, which it lacks")
        root.place(path, other)
        return
    root.place(path, from_tar(info, spool))


def from_tar(info: tarfile.TarInfo, spool: BinaryIO) -> Node:
    """The node for a member of the archive in `spool`, anything but a hard link; its content stays there."""
    kind = _TYPES.get(info.type)
    if kind is None or kind == "hardlink" or info.issparse():
        raise LayerError(f"the archive of the tree holds `{info.name}`, which no layer can hold")
    xattrs = {
        name: value.encode("utf-8", errors="surrogateescape")
        for name in XATTRS
        if (value := info.pax_headers.get(f"SCHILY.xattr.{name}")) is not None
    }
    return Node(
        type=kind,
        mode=0o777 if kind == "symlink" else info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        mtime=int(info.mtime),
        target=info.linkname if kind == "symlink" else "",
        content=Spooled(file=spool, offset=info.offset_data, size=info.size) if kind == "file" else None,
        major=info.devmajor if kind in ("char", "block") else 0,
        minor=info.devminor if kind in ("char", "block") else 0,
        xattrs=tuple(xattrs.items()),
    )
