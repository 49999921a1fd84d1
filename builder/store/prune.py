"""What fills the store, and what of it can go.  Reached through `Store.usage` and `Store.prune`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from builder.errors import StoreError
from builder.frozen import frozen
from builder.store import disk

Kind: TypeAlias = Literal["layers", "inputs", "images", "unpacked", "temporary", "memos"]
KINDS: tuple[Kind, ...] = ("layers", "inputs", "images", "unpacked", "temporary", "memos")


@frozen
class Usage:
    """How much one kind of content takes: number of items and bytes."""

    kind: Kind
    count: int
    size: int


@frozen
class Item:
    """One thing in the store: a blob, an input, an unpacked tree, ...; `size` in bytes.

    `used` is when it was last used, in ns, and `needed` whether a named image needs it.
    """

    kind: Kind
    name: str
    size: int
    path: Path
    used: int = 0
    needed: bool = False


def survey(root: Path, *, documents: set[str], layers: set[str]) -> Iterator[Item]:
    """Everything on disk.  `documents` and `layers` are the digests that named images need."""
    for path, stat in _files(root / "blobs" / "sha256"):
        digest = f"sha256:{path.name}"
        needed = digest in documents or digest in layers
        document = digest in documents if needed else _is_document(path)
        kind: Kind = "images" if document else "layers"
        yield Item(kind=kind, name=digest, size=stat.st_size, path=path, used=stat.st_mtime_ns, needed=needed)
    for path, stat in _files(root / "files" / "sha256"):
        yield Item(kind="inputs", name=path.name, size=stat.st_size, path=path, used=stat.st_mtime_ns)
    with contextlib.suppress(FileNotFoundError):
        for path in sorted((root / "unpacked").iterdir()):
            yield Item(kind="unpacked", name=path.name, size=disk.tree_size(path), path=path, used=_used(root, path))
    for path, fd in disk.leftovers(root / "tmp", partials=True):
        size = disk.tree_size(path) if path.is_dir() else os.fstat(fd).st_size
        yield Item(kind="temporary", name=path.name, size=size, path=path)


def choose(items: Sequence[Item], *, everything: bool, max_bytes: int | None) -> tuple[Item, ...]:
    """What goes: all that no image needs, or all; with `max_bytes`, the least recently used of it until the rest fits.

    Temporary files always go.
    """
    candidates = [item for item in items if everything or not item.needed]
    if max_bytes is None:
        return tuple(candidates)
    total = sum(item.size for item in items)
    chosen = []
    for item in sorted(candidates, key=lambda item: (item.kind != "temporary", item.used, item.name)):
        if total <= max_bytes and item.kind != "temporary":
            break
        chosen.append(item)
        total -= item.size
    return tuple(chosen)


def remove(root: Path, items: Sequence[Item], *, remove_tree: Callable[[Path], None] | None) -> None:
    """Remove files and trees (memos are rows of the index); goes on after a failure and reports all at the end."""
    problems = []
    temporary = {item.path for item in items if item.kind == "temporary"}
    for path, _ in disk.leftovers(root / "tmp", partials=True):  # locked again: nobody took one up meanwhile
        if path in temporary:
            with contextlib.suppress(FileNotFoundError):
                disk.remove(path, remove_tree=remove_tree)
    for item in items:
        if item.kind in ("temporary", "memos"):
            continue
        try:
            disk.remove(item.path, remove_tree=remove_tree)
            if item.kind == "unpacked":
                marker(root, item.name).unlink(missing_ok=True)
        except FileNotFoundError:
            continue
        except OSError as problem:
            problems.append(f"{item.path}: {(problem.strerror or str(problem)).lower()}")
    if problems:
        raise StoreError(
            f"could not remove {len(problems)} of {len(items)} things from the cache", details="\n".join(problems[:20])
        )


def tree_name(diff_id: str, *, owners: bool, ids: str = "") -> str:
    """The name of an unpacked tree, which says whether the files have the owners that the layer gives them.

    `ids` says which ids of this machine stand for them, unless they are those themselves.
    """
    return disk.hex_of(diff_id) + (f"-owners{ids}" if owners else "-user")


def marker(root: Path, name: str) -> Path:
    """The lock file of an unpacked tree, whose time says when the tree was last used."""
    return root / "locks" / f"unpacked-{name}"


def without_need(item: Item) -> Item:
    """The item as if no image needed it."""
    return dataclasses.replace(item, needed=False)


def _is_document(path: Path) -> bool:
    """Whether it looks like a manifest or a configuration; only for the table of what nothing needs."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(1) == b"{"
    return False


def _used(root: Path, path: Path) -> int:
    for candidate in (marker(root, path.name), path):
        with contextlib.suppress(OSError):
            return candidate.stat().st_mtime_ns
    return 0


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.lstat()
