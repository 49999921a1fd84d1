"""Layer blobs as directories that an overlay can use: once per layer, whole or not at all.

Layers are foreign input.  Only `tree` touches the file system below the directory; this module decides where and when.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from builder import sandbox
from builder.engine.inflate import Inflated
from builder.engine.tree import extract
from builder.errors import LayerError, StoreError
from builder.frozen import frozen
from builder.oci import PackedLayer
from builder.report import Report
from builder.store import Store

Fetch: TypeAlias = Callable[[PackedLayer], None]
"""Brings the blob of a layer of a foreign base into the store."""
WORKERS = 4
PIECE = 1 << 20


def unpack_all(
    layers: Sequence[PackedLayer],
    *,
    store: Store,
    report: Report,
    fetch: Fetch | None = None,
    full: bool = False,
) -> list[Path]:
    """The directories of `layers`, in their order, each unpacked unless it is there already; `full` as in `unpack`."""
    ids = _Ids.here(full=full)
    missing = [layer for layer in dict.fromkeys(layers) if not ids.path(layer, store=store).exists()]
    if missing:
        report.note(f"unpacking {len(missing)} layer{'s' if len(missing) > 1 else ''}")
        with ThreadPoolExecutor(min(WORKERS, len(missing))) as pool:
            list(pool.map(lambda layer: unpack(layer, store=store, report=report, fetch=fetch, full=full), missing))
    return [ids.path(layer, store=store) for layer in layers]


@frozen
class _Ids:
    """How files are owned here: by whom the layer says, whose `name` is here, or all by the caller."""

    owners: bool
    name: str = ""

    @classmethod
    def here(cls, *, full: bool) -> _Ids:
        if sandbox.all_ids():
            return cls(owners=True)
        return cls(owners=True, name=sandbox.ids_name()) if full else cls(owners=False)

    def path(self, layer: PackedLayer, *, store: Store) -> Path:
        return store.unpacked_path(layer.diff_id, owners=self.owners, ids=self.name)


def unpack(layer: PackedLayer, *, store: Store, report: Report, fetch: Fetch | None = None, full: bool = False) -> Path:
    """The directory of one layer.

    Whiteouts take the overlay's form.  Owners are kept where this process is root, and with `full` also where it has
    subordinate ids to give to files; else everything is the caller's.  None takes the other's directory, should they
    share a cache.
    Safe when several processes want the same layer and when one of them is killed: it appears by `rename`.  Raises
    `LayerError` if the layer is hostile, `StoreError` if its blob is absent or not the one that was recorded.
    """
    ids = _Ids.here(full=full)
    path = ids.path(layer, store=store)
    if path.exists():
        return path
    if not store.has_blob(layer.digest):
        if fetch is None:
            raise StoreError(f"the layer `{layer.digest}` is not in the store", hint="build or pull the image again")
        fetch(layer)
    with store.unpacked_lock(layer.diff_id, owners=ids.owners, ids=ids.name, report=report):
        if path.exists():
            return path
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.chmod(0o700)  # a root's set-uid programs in there are not for other users of this machine
            sandbox.remove_tree(partial)
            _fill(partial, layer=layer, ids=ids, store=store, report=report)
            partial.rename(path)
        except OSError as problem:
            raise StoreError(
                f"could not unpack the layer `{layer.digest}`: {problem.strerror or problem}",
                details=str(problem),
                hint="free some space: `cogsmith cache prune`" if problem.errno in (28, 122) else None,
            ) from problem
        finally:
            sandbox.remove_tree(partial)
    return path


def _fill(target: Path, *, layer: PackedLayer, ids: _Ids, store: Store, report: Report) -> None:
    blob = store.blob_path(layer.digest)
    label = f"unpacking {layer.digest[7:19]}"
    damaged = f"remove `{blob}` and build or pull the image again"
    with blob.open("rb", buffering=0) as file, Inflated(file) as stream:
        try:

            def progress() -> None:
                report.advance(label, min(file.tell(), layer.size - 1), layer.size)

            if ids.name:
                _extract_elsewhere(stream, target=target, progress=progress)
            else:
                extract(stream, target=target, owners=ids.owners, progress=progress)
            stream.drain()
        except ValueError as problem:
            raise StoreError(f"the layer `{layer.digest}` is damaged", details=str(problem), hint=damaged) from problem
        except LayerError as problem:
            raise LayerError(
                f"the layer `{layer.digest}` is hostile: {problem.brief}",
                details=problem.details,
                hint="take the image from a source that you trust: no builder makes such a layer",
            ) from problem
        if stream.diff_id != layer.diff_id:
            details = f"expected {layer.diff_id}\nfound    {stream.diff_id}"
            raise StoreError(f"the layer `{layer.digest}` does not hold what it should", details=details, hint=damaged)
    report.advance(label, os.stat(blob).st_size, layer.size)  # noqa: PTH116


def _extract_elsewhere(stream: Inflated, *, target: Path, progress: Callable[[], None]) -> None:
    """Extract in a process that has the subordinate ids; only the bytes of the tar go there."""
    arguments = {"target": str(target.absolute())}
    with sandbox.work("builder.engine.tree", "extract_stdin", arguments, stdin=True) as worker:
        with contextlib.suppress(BrokenPipeError):  # it says why
            while piece := stream.read(PIECE):
                worker.stdin.write(piece)
                progress()
        worker.result()
