"""A layer's tar as a directory tree.  Writes below its target only, whatever the archive says.

The target is new and nobody else's, so what lies in it is known without asking: a path is only ever created below
directories that this extraction made, and no link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from builder import sandbox
from builder.errors import LayerError
from builder.layers.untar import Bounded

Kind: TypeAlias = Literal["dir", "file", "link", "whiteout"]
WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"
OPAQUE_XATTRS = ("user.overlay.opaque", "trusted.overlay.opaque")
"""The second is for root on kernels that do not know the mount option `userxattr`."""
WHITEOUT_XATTR = "user.overlay.whiteout"
XATTR = "SCHILY.xattr."
COPY = 1 << 20
PATH_MAX = 4096
RESERVE, RESERVE_FILES = 128 << 20, 1000
"""Bytes and files of the disk that are never taken."""
ASKED_EVERY = 16 << 20
"""Bytes between two looks at the disk; a file counts for a tar header."""


def extract(stream: IO[bytes] | object, *, target: Path, owners: bool, progress: Callable[[], None]) -> None:
    """Make directory `target` from the tar that `stream` yields.

    Raises `LayerError` for paths that leave the tree and `ValueError` for a damaged archive.  Leading slashes mean the
    root of the image.  Devices are left out: the container has its own /dev, and its root is mounted `nodev`.
    """
    target.mkdir(mode=0o755)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        tree = _Tree(root, target=target, owners=owners)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=COPY, encoding="utf-8", tarinfo=Bounded) as tar:  # type: ignore[call-overload]
            for number, member in enumerate(tar):
                try:
                    tree.add(member, content=tar)
                except OverflowError as problem:
                    raise LayerError(f"`{member.name[-200:]}` has a time or an owner that is none: {problem}") from None
                tar.members = []  # it would remember every one
                if not number % 256:
                    progress()
        tree.finish()
    except (tarfile.TarError, EOFError) as problem:
        raise ValueError(f"damaged tar: {problem}") from problem
    finally:
        os.close(root)


def extract_stdin(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`extract` with owners, of what comes on standard input: for `sandbox.work`."""
    with os.fdopen(os.dup(0), "rb", buffering=COPY) as stream:
        extract(stream, target=Path(arguments["target"]), owners=True, progress=lambda: None)
        while stream.read(COPY):
            pass
    return {}


class _Tree:
    def __init__(self, root: int, *, target: Path, owners: bool) -> None:
        self._root = root
        self._target = target
        self._owners = owners
        self._known: dict[bytes, Kind] = {b"": "dir"}
        self._dirs: dict[bytes, tarfile.TarInfo | None] = {b"": None}
        self._opaque: set[bytes] = set()
        self._whiteouts: dict[bytes, list[bytes]] = {}
        self._room = _Room(root)

    def add(self, member: tarfile.TarInfo, *, content: tarfile.TarFile) -> None:
        path = _path(member.name)
        parent, _, name = path.rpartition(b"/")
        self._room.take(512)
        if path:
            self._make_parents(parent, below=member.name)
        if name.startswith(WHITEOUT):
            self._whiteout(parent, name)
        elif member.isdir():
            self._directory(path, member)
        elif not path:
            raise LayerError(f"`{member.name}` is not a directory")
        elif member.isreg():
            self._replace(path)
            self._file(path, member, content)
            self._known[path] = "file"
        elif member.issym():
            self._replace(path)
            os.symlink(member.linkname.encode("utf-8", "surrogateescape"), path, dir_fd=self._root)
            self._known[path] = "link"
            self._dress(path, member)
        elif member.islnk():
            self._hard_link(path, member)
        elif member.isfifo():
            self._replace(path)
            os.mkfifo(path, member.mode & 0o7777, dir_fd=self._root)
            self._known[path] = "file"
            self._dress(path, member)

    def finish(self) -> None:
        """Directories last: their modes may forbid adding to them, and adding moves their times."""
        for path in sorted(self._dirs, reverse=True):
            member = self._dirs[path]
            descriptor = self._open_directory(path)
            try:
                if member is None:
                    os.fchmod(descriptor, 0o755)
                    os.utime(descriptor, ns=(0, 0))
                else:
                    self._dress_open(descriptor, member)
            finally:
                os.close(descriptor)

    def _make_parents(self, path: bytes, *, below: str) -> None:
        missing = []
        while (kind := self._known.get(path)) != "dir":
            if kind in ("link", "file"):
                raise LayerError(f"`{below}` lies below `{os.fsdecode(path)}`, which is not a directory")
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for parent in reversed(missing):
            self._make_directory(parent)
            self._dirs[parent] = None

    def _directory(self, path: bytes, member: tarfile.TarInfo) -> None:
        if self._known.get(path) != "dir":
            self._make_directory(path)
        self._dirs[path] = member

    def _make_directory(self, path: bytes) -> None:
        hides = self._known.get(path) == "whiteout"
        self._replace(path)
        os.mkdir(path, 0o700, dir_fd=self._root)
        self._known[path] = "dir"
        if hides:  # removed and made anew by one layer
            self._make_opaque(path)

    def _replace(self, path: bytes) -> None:
        kind = self._known.pop(path, None)
        if kind == "dir":
            sandbox.remove_tree(self._target / os.fsdecode(path))
            for name in [name for name in self._known if name.startswith(path + b"/")]:
                del self._known[name]
            self._opaque = {name for name in self._opaque if not (name + b"/").startswith(path + b"/")}
            self._dirs = {name: v for name, v in self._dirs.items() if not (name + b"/").startswith(path + b"/")}
        elif kind is not None:
            os.unlink(path, dir_fd=self._root)

    def _file(self, path: bytes, member: tarfile.TarInfo, content: tarfile.TarFile) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600, dir_fd=self._root)
        try:
            source = content.extractfile(member)
            assert source is not None
            left = member.size
            while left:
                piece = source.read(min(left, COPY))
                if not piece:
                    raise ValueError(f"`{member.name}` ends early")
                left -= len(piece)
                self._room.take(len(piece))
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
            self._dress_open(descriptor, member)
        finally:
            os.close(descriptor)

    def _hard_link(self, path: bytes, member: tarfile.TarInfo) -> None:
        source = _path(member.linkname)
        if self._known.get(source) not in ("file", "link"):
            raise LayerError(f"`{member.name}` is a hard link to `{member.linkname}`, which this layer has not")
        if source != path:
            self._replace(path)
            os.link(source, path, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)
            self._known[path] = self._known[source]

    def _whiteout(self, parent: bytes, name: bytes) -> None:
        if name == OPAQUE:
            self._make_opaque(parent)
        elif not name.startswith(WHITEOUT + WHITEOUT):  # others of that form are aufs's own
            hidden = name.removeprefix(WHITEOUT)
            if hidden in (b"", b".", b".."):
                raise LayerError(f"`{os.fsdecode(name)}` is no whiteout")
            path = parent + b"/" + hidden if parent else hidden
            kind = self._known.get(path)
            if kind == "dir":
                self._make_opaque(path)
            elif kind is None and parent not in self._opaque:
                try:
                    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=self._root)
                except PermissionError:
                    self._whiteout_by_attribute(parent, path)
                self._known[path] = "whiteout"
                self._whiteouts.setdefault(parent, []).append(path)

    def _whiteout_by_attribute(self, parent: bytes, path: bytes) -> None:
        # An overlay, as in a container, takes no whiteouts of the classic form; Linux 6.8 has another
        # (kernel documentation, overlayfs, "Nesting overlayfs mounts").
        if sandbox.kernel_release() < (6, 8):
            text = "the cache is on an overlay, where this kernel makes no whiteouts: set XDG_CACHE_HOME to a volume"
            raise OSError(errno.EPERM, text, os.fspath(self._target))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=self._root)
        try:
            os.setxattr(descriptor, WHITEOUT_XATTR, b"y")
        finally:
            os.close(descriptor)
        self._make_opaque(parent, value=b"x")  # "look for these": does not hide what is below, and never undoes "y"

    def _make_opaque(self, path: bytes, *, value: bytes = b"y") -> None:
        if value == b"x" and path in self._opaque:
            return
        if value == b"y":
            self._opaque.add(path)
            for hidden in self._whiteouts.pop(path, ()):  # no longer needed, and those by attribute would be files now
                if self._known.get(hidden) == "whiteout":
                    self._replace(hidden)
        descriptor = self._open_directory(path)
        try:
            os.setxattr(descriptor, OPAQUE_XATTRS[0], value)
            if self._owners:
                with contextlib.suppress(PermissionError):
                    os.setxattr(descriptor, OPAQUE_XATTRS[1], value)
        except OSError as problem:
            if problem.errno != errno.ENOTSUP:
                raise
            text = "its file system has no extended attributes, which layers need"
            raise OSError(problem.errno, text, os.fspath(self._target)) from problem
        finally:
            os.close(descriptor)

    def _open_directory(self, path: bytes) -> int:
        return os.open(path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)

    def _dress(self, path: bytes, member: tarfile.TarInfo) -> None:
        if self._owners:
            os.chown(path, member.uid, member.gid, dir_fd=self._root, follow_symlinks=False)
        os.utime(path, ns=_times(member), dir_fd=self._root, follow_symlinks=False)

    def _dress_open(self, descriptor: int, member: tarfile.TarInfo) -> None:
        if self._owners:
            os.fchown(descriptor, member.uid, member.gid)
        os.fchmod(descriptor, member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            name = key.removeprefix(XATTR)
            # The overlay's own attributes are never the archive's to set.
            ours = name == "security.capability" or (name.startswith("user.") and not name.startswith("user.overlay."))
            if name != key and ours:
                with contextlib.suppress(OSError):  # capabilities need root, and not every file system has attributes
                    os.setxattr(descriptor, name, value.encode("utf-8", "surrogateescape"))
        os.utime(descriptor, ns=_times(member))


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    moment = max(0, int(member.mtime * 1_000_000_000)) if isinstance(member.mtime, float) else member.mtime * 10**9
    return (moment, moment)


def _path(name: str) -> bytes:
    """The path inside the image, without leading slashes and dots."""
    parts = [part for part in name.encode("utf-8", "surrogateescape").split(b"/") if part not in (b"", b".")]
    if b".." in parts or b"\0" in name.encode("utf-8", "surrogateescape"):
        raise LayerError(f"`{name}` leaves the image")
    path = b"/".join(parts)
    if len(path) >= PATH_MAX:
        raise LayerError(f"`{name[:100]}...` is {len(path)} bytes long, and no path is")
    return path


class _Room:
    """Stops an extraction before the disk is full: what inflates without end is not to take the machine along."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._left = 0

    def take(self, size: int) -> None:
        """`size` more bytes will be written; `OSError` where hardly any are left."""
        self._left -= size
        if self._left < 0:
            self._left = ASKED_EVERY
            found = os.fstatvfs(self._root)
            if found.f_bavail * found.f_frsize < RESERVE or (found.f_files and found.f_favail < RESERVE_FILES):
                text = f"less than {RESERVE >> 20} MiB or {RESERVE_FILES} files are left of the disk"
                raise OSError(errno.ENOSPC, text)
