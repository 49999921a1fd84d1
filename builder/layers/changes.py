"""What a step left, from wherever it ran: an overlay's upper folder, an archive of Buildah or Kaniko, a whole tree.

Reads what it is handed; follows no link.  `builder.layers.delta` gives all of them one form.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.errors import LayerError
from builder.layers.delta import WHITEOUT, Changes, Lower
from builder.layers.lower import attribute, is_opaque, is_whiteout
from builder.layers.root import Node
from builder.layers.tree import from_disk, from_tar, read_folder
from builder.layers.untar import Bounded

OPAQUE = ".wh..wh..opq"
AUFS = ".wh..wh."
"""Other names that begin so are aufs's own, and mean nothing in a layer."""

_REDIRECT = ("trusted.overlay.redirect", "user.overlay.redirect")
_METACOPY = ("trusted.overlay.metacopy", "user.overlay.metacopy")


def read_whole(folder: Path) -> Changes:
    """A tree that holds everything, what is unchanged included."""
    with _explained():
        root = read_folder(folder, epoch=0)
    return Changes(nodes=dict(root.walk("")), opaque={""}, undivided=True)


def read_upper(folder: Path, *, lower: Lower) -> Changes:
    """The upper folder of an overlay that is no longer mounted: whiteouts, opaque folders, and what was moved.

    A folder that was renamed (`redirect`) is the lower layers' under another name, and a file of which only the
    metadata was copied (`metacopy`) has its content there; both become what they show.
    """
    changes = Changes(nodes={})
    with _explained():
        _fill_upper(changes, folder=folder, lower=lower)
    return changes


def _fill_upper(changes: Changes, *, folder: Path, lower: Lower) -> None:
    linked: dict[tuple[int, int], Node] = {}
    # Each folder with where it comes from in the lower layers: nothing for its own place.
    pending: list[tuple[str, str | None]] = [("", None)]
    while pending:
        place, origin = pending.pop()
        here = os.path.join(folder, place)  # noqa: PTH118
        names: set[str] = set()
        with os.scandir(here) as entries:
            for entry in entries:
                names.add(entry.name)
                path = f"{place}/{entry.name}" if place else entry.name
                found = entry.stat(follow_symlinks=False)
                if is_whiteout(entry.path, found):
                    changes.hidden.add(path)
                    continue
                source = f"{origin}/{entry.name}" if origin is not None else None
                node = linked.get((found.st_dev, found.st_ino)) or from_disk(Path(entry.path), found)
                if node is None:
                    continue
                if node.type == "file":
                    if found.st_nlink > 1:
                        linked[(found.st_dev, found.st_ino)] = node
                    _fill_metacopy(node, entry.path, source=source or path, lower=lower)
                changes.nodes[path] = node
                if node.type == "dir":
                    pending.append((path, _origin(entry.path, path, source=source, changes=changes)))
        if origin is not None:
            for name in lower.names(origin):
                if name not in names:
                    _copy(lower, f"{origin}/{name}", f"{place}/{name}", changes)


def read_layer(archive: BinaryIO, *, lower: Lower) -> Changes:
    """A layer of another builder, uncompressed, in a file; its content stays there and is read when it is packed.

    A hard link to what the archive lacks is one to the lower layers' file, whose content it gets.
    """
    changes = Changes(nodes={})
    archive.seek(0)
    try:
        with tarfile.open(fileobj=archive, mode="r:", encoding="utf-8", tarinfo=Bounded) as tar:
            for info in tar:
                path = "/".join(part for part in info.name.split("/") if part not in ("", "."))
                if ".." in path.split("/"):
                    raise LayerError(f"the archive of a step holds `{info.name}`, which leaves the image")
                if path:
                    _place(info, path, changes=changes, archive=archive, lower=lower)
    except (tarfile.TarError, ValueError, EOFError) as problem:
        raise LayerError(f"the archive of a step is damaged: {problem}") from problem
    return changes


def _place(info: tarfile.TarInfo, path: str, *, changes: Changes, archive: BinaryIO, lower: Lower) -> None:
    parent, slash, name = path.rpartition("/")
    if name == OPAQUE:
        changes.opaque.add(parent)
    elif name.startswith(AUFS):
        pass
    elif name.startswith(WHITEOUT):
        changes.hidden.add(parent + slash + name.removeprefix(WHITEOUT))
    elif info.islnk():
        target = "/".join(part for part in info.linkname.split("/") if part not in ("", "."))
        node = changes.nodes.get(target) or lower.node(target)
        if node is None or node.type == "dir":
            raise LayerError(f"the archive of a step links `{path}` to `{target}`, which is no file")
        changes.nodes[path] = node
    else:
        changes.nodes[path] = from_tar(info, archive)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Folders that bar even root, and paths that are longer than any (4096 bytes), are a command's own making."""
    try:
        yield
    except OSError as problem:
        raise LayerError(
            f"could not read what a command left in `...{str(problem.filename)[-200:]}`:"
            f" {(problem.strerror or '').lower()}"
        ) from problem


def _origin(disk: str, path: str, *, source: str | None, changes: Changes) -> str | None:
    if is_opaque(disk):
        changes.opaque.add(path)
        return None
    moved = next((value for name in _REDIRECT if (value := attribute(disk, name)) is not None), None)
    if moved is None:
        return source
    changes.opaque.add(path)
    target = os.fsdecode(moved)
    if target.startswith("/"):
        return target.strip("/")
    above = (source or path).rpartition("/")[0]
    return f"{above}/{target}" if above else target


def _fill_metacopy(node: Node, disk: str, *, source: str, lower: Lower) -> None:
    if all(attribute(disk, name) is None for name in _METACOPY):
        return
    moved = next((value for name in _REDIRECT if (value := attribute(disk, name)) is not None), None)
    if moved is not None:
        target = os.fsdecode(moved)
        above = source.rpartition("/")[0]
        source = target.strip("/") if target.startswith("/") else f"{above}/{target}".strip("/")
    below = lower.node(source)
    if below is None or below.type != "file":
        raise LayerError(f"a command left the metadata of `/{source}`, whose content is not in the layers below")
    node.content = below.content


def _copy(lower: Lower, source: str, target: str, changes: Changes) -> None:
    """Everything that the lower layers have at `source`, as nodes at `target`."""
    pending = [(source, target)]
    while pending:
        old, new = pending.pop()
        node = lower.node(old)
        if node is None:
            continue
        changes.nodes[new] = dataclasses.replace(node)
        if node.type == "dir":
            pending += [(f"{old}/{name}", f"{new}/{name}") for name in lower.names(old)]
