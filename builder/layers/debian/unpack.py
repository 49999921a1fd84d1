"""Packages onto a `Root`, as dpkg unpacks them.  No I/O but the package files handed in."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import queue
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from builder.errors import LayerError
from builder.frozen import frozen
from builder.layers.content import Spooled
from builder.layers.deb import Control, Entry, read_control, read_data, verify
from builder.layers.root import Node, Root


@frozen
class Package:
    """A package file that was read: its control part, its entries, and the spool that holds their content."""

    control: Control
    entries: tuple[Entry, ...]
    spool: BinaryIO

    @property
    def name(self) -> str:
        """The package's name."""
        return self.control.package


@dataclasses.dataclass(slots=True, kw_only=True)
class Unpacked:
    """What dpkg remembers of unpacking.

    `lists` holds the paths of each package in its own order, `owners` the package of each real path, and `replaces`
    the names that each package may take files from.
    """

    lists: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    owners: dict[str, str] = dataclasses.field(default_factory=dict)
    replaces: dict[str, set[str]] = dataclasses.field(default_factory=dict)


def read_packages(paths: Sequence[tuple[str, Path]], *, threads: int, scratch: Path | None = None) -> list[Package]:
    """Read package files (pairs of sha256 and path), verified, in order; decompression runs in `threads`.

    Content goes to one unnamed temporary file a thread in `scratch`, which lives as long as the packages do.  Raises
    `LayerError` where there is no room for it.
    """
    spools: queue.SimpleQueue[BinaryIO] = queue.SimpleQueue()

    def read(item: tuple[str, Path]) -> Package:
        sha256, path = item
        try:
            verify(path, sha256=sha256)
            control = read_control(path)
        except OSError as problem:
            raise LayerError(f"could not read `{path}`: {problem.strerror}") from problem
        try:
            spool = spools.get_nowait()
        except queue.Empty:
            spool = _spool(scratch)
        try:
            return Package(control=control, entries=tuple(read_data(path, spool=spool)), spool=spool)
        except OSError as problem:
            raise _no_room(problem, scratch=scratch) from problem
        finally:
            spools.put(spool)

    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        # The largest first, so that no thread is left with a large one at the end.
        largest = sorted(range(len(paths)), key=lambda i: _size(paths[i][1]), reverse=True)
        futures = {i: pool.submit(read, paths[i]) for i in largest}
        return [futures[i].result() for i in range(len(paths))]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # explained when it is read


def _spool(scratch: Path | None) -> BinaryIO:
    try:
        return tempfile.TemporaryFile(dir=scratch)
    except OSError as problem:
        raise _no_room(problem, scratch=scratch) from problem


def _no_room(problem: OSError, *, scratch: Path | None) -> LayerError:
    place = f"`{scratch}`" if scratch else "the folder for temporary files"
    return LayerError(
        f"could not unpack the Debian packages in {place}: {problem.strerror}",
        hint="free some space on that file system" + ("" if scratch else ", or name another folder with `TMPDIR`"),
    )


def unpack(package: Package, *, root: Root, unpacked: Unpacked) -> None:
    """Place the files of `package` and note them in `unpacked`.

    As dpkg does: a folder that is there already, or a symbolic link to one, stays as it is; a file of another package
    is replaced only where the other one is named in `Replaces`.
    """
    listed = unpacked.lists.setdefault(package.name, [])
    replaces = unpacked.replaces[package.name] = _names(package.control.fields.get("Replaces", ""))
    nodes: dict[str, Node] = {}
    # dpkg leaves symbolic links for last, and lists them last.
    for entry in sorted(package.entries, key=lambda entry: entry.type == "symlink"):
        listed.append(entry.path)
        path = entry.path
        if entry.type == "dir":
            if not root.is_dir(path):
                root.put(path, Node(type="dir", mode=entry.mode, uid=entry.uid, gid=entry.gid, mtime=entry.mtime))
            continue
        if entry.type == "hardlink":
            if entry.linkname not in nodes:
                raise LayerError(f"`{package.name}` links `/{entry.path}` to `/{entry.linkname}`, which it lacks")
            node = nodes[entry.linkname]
        else:
            node = _node(entry, package.spool)
        real = root.real(path)
        owner = unpacked.owners.get(real)
        if owner is not None and owner != package.name:
            if owner not in replaces:
                if package.name in unpacked.replaces[owner]:
                    nodes[entry.path] = node
                    listed.pop()
                    continue
                raise LayerError(f"packages `{owner}` and `{package.name}` both hold `/{entry.path}`")
            unpacked.lists[owner] = [p for p in unpacked.lists[owner] if p != entry.path]
        nodes[entry.path] = node
        root.put(path, node)
        unpacked.owners[real] = package.name


def _names(field: str) -> set[str]:
    return {item.split("(")[0].split(":")[0].strip() for item in field.split(",")}


def _node(entry: Entry, spool: BinaryIO) -> Node:
    content = Spooled(file=spool, offset=entry.offset, size=entry.size) if entry.type == "file" else None
    return Node(
        type=entry.type,
        mode=0o777 if entry.type == "symlink" else entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime,
        target=entry.linkname if entry.type == "symlink" else "",
        content=content,
        major=entry.major,
        minor=entry.minor,
    )
