"""A file system in memory: what is put there by packages, by models of scripts, or from disk.  Pure.

Paths are relative to the root, with or without a leading slash.  Symbolic links in the middle of a path are followed as
the kernel would inside the finished system, so `/lib/x` and `/usr/lib/x` are one place on a merged-/usr system.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

from builder.errors import LayerError
from builder.layers.content import Content, Data, FileSlice, Spooled
from builder.layers.tar import Member, MemberType, sort_key

_MAX_LINKS = 40


@dataclasses.dataclass(slots=True, kw_only=True)
class Node:
    """A file, folder, link or device.  Hard links are several paths with the same node."""

    type: MemberType
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: str = ""
    content: Content | None = None
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Root:
    """The tree; `epoch` is the time of everything that no archive gives a time for."""

    def __init__(self, *, epoch: int) -> None:
        self.epoch = epoch
        self._nodes: dict[str, Node] = {"": Node(type="dir", mode=0o755, mtime=epoch)}
        self._children: dict[str, set[str]] = {"": set()}
        self._folders: dict[str, str] = {}

    def real(self, path: str, *, follow: bool = False) -> str:
        """The path with every symbolic link in it resolved; the last part only with `follow`.

        Parts that do not exist stay as they are.
        """
        parent, _, name = path.strip("/").rpartition("/")
        folder = self._folder(parent, left=_MAX_LINKS)
        whole = f"{folder}/{name}" if folder else name
        return self._follow(whole, left=_MAX_LINKS) if follow else whole

    def node(self, path: str, *, follow: bool = False) -> Node | None:
        """What is at `path`, or nothing; a symbolic link itself unless `follow`."""
        return self._nodes.get(self.real(path, follow=follow))

    def exists(self, path: str) -> bool:
        """Whether something is at `path`, symbolic links followed (`test -e`)."""
        return self.node(path, follow=True) is not None

    def is_dir(self, path: str) -> bool:
        """Whether `path` is a folder or a symbolic link to one (`test -d`)."""
        node = self.node(path, follow=True)
        return node is not None and node.type == "dir"

    def is_executable(self, path: str) -> bool:
        """Whether `path` is a file with an execute bit (`test -x`)."""
        node = self.node(path, follow=True)
        return node is not None and node.type == "file" and bool(node.mode & 0o111)

    def names(self, folder: str) -> list[str]:
        """The names in `folder`, sorted; none where there is no such folder."""
        return sorted(self._children.get(self.real(folder, follow=True), ()))

    def walk(self, folder: str) -> Iterator[tuple[str, Node]]:
        """Everything below `folder` with its real path, parents first, sorted."""
        base = self.real(folder, follow=True)
        for name in sorted(self._children.get(base, ())):
            path = f"{base}/{name}" if base else name
            node = self._nodes[path]
            yield path, node
            if node.type == "dir":
                yield from self.walk(path)

    def put(self, path: str, node: Node) -> None:
        """Place `node` at `path`, in place of what was there; missing folders above it are made (0755)."""
        whole = self.real(path)
        parent, _, name = whole.rpartition("/")
        above = self._nodes.get(parent)
        if above is None:
            self.mkdir(parent)
        elif above.type != "dir":
            raise LayerError(f"`/{whole}` cannot be made: `/{parent}` is no folder")
        old = self._nodes.get(whole)
        if old is not None and old.type == "dir":
            if self._children[whole] and node.type != "dir":
                raise LayerError(f"`/{whole}` is a folder with content and cannot be replaced")
            if node.type != "dir":
                del self._children[whole]
        if node.type == "symlink" or (old is not None and old.type == "symlink"):
            self._folders.clear()
        self._nodes[whole] = node
        self._children[parent].add(name)
        if node.type == "dir":
            self._children.setdefault(whole, set())

    def place(self, path: str, node: Node) -> None:
        """Place `node` at exactly `path`, whose parents are there: for trees that are read whole, parents first."""
        parent, _, name = path.rpartition("/")
        self._nodes[path] = node
        self._children[parent].add(name)
        if node.type == "dir":
            self._children.setdefault(path, set())
        elif node.type == "symlink":
            self._folders.clear()

    def mkdir(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """`mkdir -p`: make the folder and those above it; one that exists stays as it is."""
        if not self.is_dir(path):
            self.put(path, Node(type="dir", mode=mode, uid=uid, gid=gid, mtime=self.epoch))

    def write(self, path: str, data: str | bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Write a file, through symbolic links; one that exists gets this owner and mode too."""
        raw = data.encode("utf-8", errors="surrogateescape") if isinstance(data, str) else data
        node = Node(type="file", mode=mode, uid=uid, gid=gid, mtime=self.epoch, content=Data(raw))
        self.put(self.real(path, follow=True), node)

    def symlink(self, path: str, target: str, *, mtime: int | None = None) -> None:
        """`ln -sfn target path`; `mtime` defaults to the epoch."""
        time = self.epoch if mtime is None else mtime
        self.put(path, Node(type="symlink", mode=0o777, target=target, mtime=time))

    def copy(self, source: str, path: str) -> None:
        """`cp -p source path`."""
        node = self.node(source, follow=True)
        if node is None or node.type != "file":
            raise LayerError(f"`/{source.strip('/')}` is missing from the packages")
        self.put(path, dataclasses.replace(node))

    def remove(self, path: str) -> None:
        """Remove a file, link or folder with all in it; nothing where there is nothing."""
        whole = self.real(path)
        if whole not in self._nodes:
            return
        for below, _ in list(self.walk(whole)) if self._nodes[whole].type == "dir" else ():
            del self._nodes[below]
            self._children.pop(below, None)
        del self._nodes[whole]
        self._children.pop(whole, None)
        parent, _, name = whole.rpartition("/")
        self._children[parent].discard(name)
        self._folders.clear()

    def read(self, path: str) -> bytes:
        """The bytes of the file at `path`, symbolic links followed."""
        node = self.node(path, follow=True)
        if node is None or node.content is None:
            raise LayerError(f"`/{path.strip('/')}` is missing from the packages")
        return read_content(node.content)

    def members(self) -> Iterator[Member]:
        """Everything as members of a layer, sorted by path.

        Times after the epoch become the epoch, and so do those of folders: a folder's time is that of its last change,
        which depends on the order in which things are put in it.
        """
        first: dict[int, str] = {}
        for path in sorted(self._nodes, key=sort_key):
            node = self._nodes[path]
            if not path:
                continue
            mtime = self.epoch if node.type == "dir" else min(node.mtime, self.epoch)
            if node.type == "file" and first.setdefault(id(node), path) != path:
                yield Member(
                    path=path,
                    type="hardlink",
                    mode=node.mode,
                    uid=node.uid,
                    gid=node.gid,
                    mtime=mtime,
                    linkname=first[id(node)],
                )
                continue
            yield Member(
                path=path,
                type=node.type,
                mode=node.mode,
                uid=node.uid,
                gid=node.gid,
                mtime=mtime,
                linkname=node.target,
                xattrs=node.xattrs,
                major=node.major,
                minor=node.minor,
                content=node.content,
            )

    def _folder(self, path: str, *, left: int) -> str:
        # The real path of a folder; remembered, because every file of a package asks.
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = self._follow_parts(path, left=left)
        return known

    def _follow_parts(self, path: str, *, left: int) -> str:
        done = ""
        for part in path.split("/") if path else ():
            if part == "..":
                done = done.rpartition("/")[0]
            elif part not in ("", "."):
                done = self._follow(f"{done}/{part}" if done else part, left=left)
        return done

    def _follow(self, whole: str, *, left: int) -> str:
        node = self._nodes.get(whole)
        if node is None or node.type != "symlink":
            return whole
        if left == 0:
            raise LayerError(f"too many symbolic links at `/{whole}`")
        base = "" if node.target.startswith("/") else whole.rpartition("/")[0]
        return self._follow_parts(f"{base}/{node.target}", left=left - 1)


def read_content(content: Content) -> bytes:
    """All bytes of a content that is raw (small files only: they are read whole)."""
    match content:
        case Data():
            return content.data
        case Spooled():
            return os.pread(content.file.fileno(), content.size, content.offset)
        case FileSlice():
            with content.path.open("rb") as file:
                file.seek(content.offset)
                return file.read(content.size)
        case _:
            raise LayerError("compressed content cannot be read here")
