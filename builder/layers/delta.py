"""What a step changed, as members of a layer: one form whatever the program that ran it, and nothing of the run itself.

Pure but for the content that it compares.  `builder.layers.changes` reads what steps leave (overlay, archive, folder),
`builder.layers.lower` the layers below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Protocol

from builder.errors import LayerError
from builder.layers.content import Content, Data, FileSlice, Spooled
from builder.layers.reader import PIECE, Reader
from builder.layers.root import Node
from builder.layers.tar import NAME_MAX, Member, arrange, check_path
from builder.layers.tree import MOUNTS, volatile

WHITEOUT = ".wh."
MAX_ID = 65535
"""The largest user or group that a step may give a file to: what a user namespace of an ordinary user has."""

ALWAYS_MOUNTED = (*MOUNTS, "etc/hosts", "etc/hostname", "etc/resolv.conf")
"""Where every sandbox mounts something of its own, made where the image has no such place."""

DBUS_ID = b"c09517000000400080000000000000d1\n"
"""In Debian's own images it is whatever it was when they were built, and so as little of one machine."""

RULES = {
    "unchanged": "what equals the lower layers' in type, mode, owner, capabilities, target and content is left out",
    "times": "a time alone is no change: it says when a step ran, not what it did",
    "folders": "a folder is named only for its own mode or owner, or as the parent of what is named",
    "clamped": "times after the epoch become the epoch, and those of folders always",
    "explicit": "each thing deleted is one `.wh.NAME` (image-spec: SHOULD be explicit); no opaque folders",
    "nothing": "a whiteout of what the lower layers do not have is left out",
    "numeric": "owners are numbers, at most 65535: an ordinary user's namespace has no more",
    "capabilities": "of extended attributes, `security.capability` stays",
    "volatile": "what differs from run to run is as the lower layers have it (`tree.VOLATILE`)",
    "mounts": "places of mounts are as the lower layers have them; so are folders made for nothing but them",
    "bytecode": "`__pycache__` is left out, and what it replaces of the lower layers' is deleted: it would be stale;"
    " so is that of each source that changed or went",
    "machine-id": "`/etc/machine-id` is emptied",
    "dbus-id": "`/var/lib/dbus/machine-id`, which is random, is one that all images have: without any, D-Bus fails",
    "links": "names of one file are hard links to the first of them, unless the lower layers have that one already",
    "rejoined": "names of one file below that changed alike are hard links: an overlay parts them when it copies",
    "undivided": "a plain tree in which they are one file still is refused: in an overlay, a command that writes to one"
    " changes that one alone",
    "sockets": "sockets are left out: they end with the process that made them",
    "devices": "device nodes are refused: not every user may make them",
}
"""Every rule of the normal form, by the name that its test bears."""


class Lower(Protocol):
    """The merged tree of the layers below."""

    def node(self, path: str) -> Node | None:
        """What is at exactly `path`; nothing where a parent is no folder: no symbolic link is followed."""

    def names(self, folder: str) -> Sequence[str]:
        """The names in a folder."""

    def identity(self, path: str) -> Hashable:
        """Equal for names of one file; None for a file with one name."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Changes:
    """What a step left: `nodes` by path (hard links share one), `hidden` paths, and `opaque` folders.

    What is hidden is gone from the lower layers, and what lies below an opaque folder as well; nodes come on top.  A
    whole tree is nodes over an opaque root (``""``).  `undivided` says that a command wrote in a plain tree: there the
    names of one file below are one file still.
    """

    nodes: dict[str, Node]
    hidden: set[str] = dataclasses.field(default_factory=set)
    opaque: set[str] = dataclasses.field(default_factory=set)
    undivided: bool = False


def delta(changes: Changes, *, lower: Lower, epoch: int, mounts: Iterable[str] = ()) -> list[Member]:
    """The members of the layer that turns `lower` into what a step left, in a layer's order.

    `mounts` are paths where something was mounted for the step, besides `ALWAYS_MOUNTED`.  Raises `LayerError` for what
    no layer can hold, or not every builder can make (`RULES`).
    """
    with Reader() as reader:
        made = _Delta(changes, lower=lower, epoch=epoch, mounts=mounts, reader=reader)
        return arrange(made.members(), epoch=epoch)


class _Delta:
    def __init__(self, changes: Changes, *, lower: Lower, epoch: int, mounts: Iterable[str], reader: Reader) -> None:
        self._nodes = dict(changes.nodes)
        self._hidden = changes.hidden
        self._opaque = changes.opaque
        self._undivided = changes.undivided
        self._lower = lower
        self._epoch = epoch
        self._reader = reader
        self._children: dict[str, set[str]] = {"": set()}
        self._folders: set[str] = set()
        for path in self._nodes:
            self._add_child(path)
        self._folders.update(self._children)
        for path in self._hidden:
            self._add_child(path)
        self._forget_mounts([*ALWAYS_MOUNTED, *mounts])
        self._kept: dict[str, Node] = {}
        self._gone: list[str] = []

    def members(self) -> list[Member]:
        self._compare()
        self._drop_stale()
        self._rejoin()
        for path in [*self._kept, *self._gone]:
            self._keep_parents(path)
        return [*self._as_members(), *(self._whiteout(path) for path in self._gone)]

    def _add_child(self, path: str) -> None:
        while path:
            parent, _, name = path.rpartition("/")
            known = parent in self._children
            self._children.setdefault(parent, set()).add(name)
            if known:
                return
            path = parent

    def _forget_mounts(self, mounts: Iterable[str]) -> None:
        for mount in mounts:
            path = resolve(mount, lower=self._lower)
            while path and path in self._nodes and not self._below(path) and self._lower.node(path) is None:
                del self._nodes[path]
                parent, _, name = path.rpartition("/")
                self._children[parent].discard(name)
                self._children.pop(path, None)
                path = parent

    def _below(self, path: str) -> set[str]:
        names = self._children.get(path, set())
        return set() if path in MOUNTS else names

    def _compare(self) -> None:
        """Walk the changes, parents first.

        Each folder comes with whether the lower layers have one there, and whether what they have in it is gone unless
        the step left it again.
        """
        pending = [("", True, False)]
        while pending:
            folder, below, cut = pending.pop()
            cut = cut or folder in self._opaque
            names = self._children.get(folder, set())
            for name in names:
                path = f"{folder}/{name}" if folder else name
                old = self._lower.node(path) if below else None
                found = self._visit(path, old=old, cut=cut)
                if found is not None:
                    pending.append(found)
            if cut and below:
                for name in self._lower.names(folder):
                    path = f"{folder}/{name}" if folder else name
                    if name not in names and not _is_mounted(path):
                        self._gone.append(path)

    def _visit(self, path: str, *, old: Node | None, cut: bool) -> tuple[str, bool, bool] | None:
        """Decide on one path; a folder's place in the walk, where there is one to go on with."""
        if _is_mounted(path):
            return None
        node = self._nodes.get(path)
        hidden = path in self._hidden
        if node is None:
            # Something below it came, or went; else it went itself.
            if hidden and path not in self._folders:
                if old is not None:
                    self._gone.append(path)
                return None
            if volatile(path, _IMPLICIT):
                return None
            return path, old is not None and old.type == "dir", cut or hidden
        if path == "etc/machine-id" and node.type == "file":
            node = dataclasses.replace(node, content=Data(b""))
        if path == "var/lib/dbus/machine-id" and node.type == "file":
            node = dataclasses.replace(node, content=Data(DBUS_ID))
        if volatile(path, node):
            return None
        if node.type == "dir":
            if not _is_bytecode(path) and (old is None or not self._same(node, old)):
                self._keep(path, node)
            return path, old is not None and old.type == "dir", cut or hidden
        if _is_bytecode(path):
            if old is not None and not self._same(node, old):
                self._gone.append(path)
        elif old is None or not self._same(node, old):
            self._keep(path, node)
        return None

    def _drop_stale(self) -> None:
        """Delete the lower layers' bytecode of sources that changed: it is never compared with them (PEP 552)."""
        gone = set(self._gone)
        for path in [*self._kept, *self._gone]:
            folder, slash, name = path.rpartition("/")
            cache = f"{folder}{slash}__pycache__"
            if not name.endswith(".py") or cache in gone:
                continue
            for other in self._lower.names(cache):
                stale = f"{cache}/{other}"
                if other.startswith(name.removesuffix("py")) and other.endswith(".pyc") and stale not in gone:
                    gone.add(stale)
                    self._gone.append(stale)

    def _keep(self, path: str, node: Node) -> None:
        check_path(path, whiteouts=False)
        if node.type in ("char", "block"):
            raise LayerError(
                f"a command made the device node `/{path}`, which a layer cannot hold",
                hint="containers get their devices from whoever runs them: leave it out",
            )
        if max(node.uid, node.gid) > MAX_ID:
            raise LayerError(
                f"a command gave `/{path}` to user {node.uid}, group {node.gid}; {MAX_ID} is the largest",
                hint="ordinary users have no more ids to build with: choose a smaller number",
            )
        self._kept[path] = node

    def _keep_parents(self, path: str) -> None:
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in self._kept:
                return
            node = self._nodes.get(path) or self._lower.node(path)
            missing = node is None or node.type != "dir"  # an archive need not name it: what everybody makes of that
            self._kept[path] = Node(type="dir", mode=0o755, mtime=self._epoch) if missing or node is None else node

    def _rejoin(self) -> None:
        """An overlay copies each name of a lower file on its own; a plain tree keeps them together."""
        first: dict[Hashable, Node] = {}
        names: dict[int, str] = {}
        for path in sorted(self._kept):
            node = self._kept[path]
            old = self._lower.node(path) if node.type == "file" else None
            identity = self._lower.identity(path) if old is not None and old.type == "file" else None
            if identity is None:
                continue
            if self._undivided and (name := names.setdefault(id(node), path)) != path:
                raise LayerError(
                    f"a command changed `/{name}`, which is `/{path}` too (a hard link of the layers below)",
                    hint="where a storage has no overlays (`vfs`), all names of a file change with one, and elsewhere"
                    " that one alone: install `fuse-overlayfs`, or take `--backend embedded`",
                )
            other = first.setdefault(identity, node)
            if other is not node and self._same(node, other):
                self._kept[path] = other

    def _as_members(self) -> Iterator[Member]:
        first: dict[int, str] = {}
        for path, node in self._kept.items():
            mtime = self._epoch if node.type == "dir" else min(node.mtime, self._epoch)
            original = first.setdefault(id(node), path) if node.type == "file" else path
            linked = original != path
            yield Member(
                path=path,
                type="hardlink" if linked else node.type,
                mode=0o777 if node.type == "symlink" else node.mode,
                uid=node.uid,
                gid=node.gid,
                mtime=mtime,
                linkname=original if linked else node.target,
                xattrs=() if linked else node.xattrs,
                content=None if linked else node.content,
            )

    def _whiteout(self, path: str) -> Member:
        parent, slash, name = path.rpartition("/")
        if len(name.encode(errors="surrogateescape")) + len(WHITEOUT) > NAME_MAX:
            raise LayerError(f"a command deleted `/{path}`, whose name is too long for a layer to say so")
        return Member(path=f"{parent}{slash}{WHITEOUT}{name}", mtime=self._epoch, content=Data(b""))

    def _same(self, node: Node, old: Node) -> bool:
        if (node.type, node.uid, node.gid) != (old.type, old.uid, old.gid):
            return False
        if node.type == "symlink":
            return node.target == old.target
        if node.mode != old.mode or node.xattrs != old.xattrs:
            return False
        if node.type == "file":
            return self._same_content(node.content, old.content)
        return True

    def _same_content(self, one: Content | None, other: Content | None) -> bool:
        if one is None or other is None or one.size != other.size:
            return one is other
        pairs = zip(self._pieces(one), self._pieces(other), strict=True)
        return all(here == there for here, there in pairs)

    def _pieces(self, content: Content) -> Iterator[bytes]:
        match content:
            case Data():
                yield from (content.data[i : i + PIECE] for i in range(0, len(content.data), PIECE))
            case FileSlice():
                yield from self._reader.slices(content, label=str(content.path))
            case Spooled():
                yield from self._reader.spooled(content, label="archive")
            case _:
                raise LayerError("compressed content cannot be compared")


def resolve(path: str, *, lower: Lower) -> str:
    """Where `path` (of the image, absolute or not) is, its symbolic links followed as the lower layers have them."""
    done: list[str] = []
    pending = list(reversed(path.split("/")))
    links = 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        node = lower.node("/".join([*done, part]))
        if node is None or node.type != "symlink" or links > 40:
            done.append(part)
            continue
        links += 1
        pending += reversed(node.target.split("/"))
        if node.target.startswith("/"):
            done = []
    return "/".join(done)


_IMPLICIT = Node(type="dir", mode=0o755)
"""What everybody makes of a folder that an archive does not name."""


def _is_mounted(path: str) -> bool:
    return path.partition("/")[0] in MOUNTS and "/" in path


def _is_bytecode(path: str) -> bool:
    return "__pycache__" in path.split("/")
