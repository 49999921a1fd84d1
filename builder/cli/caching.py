"""`--cache-repo`: what of a plan is taken from a repository that machines share, and what is kept there afterwards.

Layers that commands made are looked up by their key.  Pure layers are taken only where a lock names their digest, and
where pulling them is less work than making them.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from builder import oci
from builder.cli.settings import Settings
from builder.frozen import frozen
from builder.oci import PackedLayer
from builder.plan import BaseLayer, BytecodeLayer, FilesLayer, Layer, Locked, Plan, layer_key, title
from builder.reference import parse
from builder.report import Report
from builder.store import Store

if TYPE_CHECKING:
    from builder.registry.cache import CacheRepository

PARALLEL = 4
WORTH = 2.0
"""A layer is pulled if it has at most so many times the bytes that making it must download: making takes time too.

A Debian base has 1.5 times the bytes of its packages, which are in xz.
"""


def cache_of(settings: Settings, *, store: Store, report: Report) -> CacheRepository | None:
    """The repository that the settings name as a cache, if they name one."""
    if not settings.cache_repo:
        return None
    from builder.registry.cache import CacheRepository
    from builder.registry.client import Access

    return CacheRepository(parse(settings.cache_repo), access=Access(env=settings.env), store=store, report=report)


@frozen
class Found:
    """A layer of the cache, and whether it is to be brought here."""

    key: str
    layer: PackedLayer
    pull: bool
    proven: bool = False
    """A lock names its digest."""


def look(
    plan: Plan, *, cache: CacheRepository, store: Store, fresh: bool = False, elsewhere: Collection[str] | None = None
) -> dict[int, Found]:
    """What of the plan's layers, by number, is in the cache and not here; nothing is downloaded.

    With `elsewhere` (digests that wherever the image goes has or can get), a layer that no command has to run on stays
    where it is.  `fresh` commands run again, whatever the cache has.
    """
    from builder.backends.steps import Executed

    keys = [layer_key(layer, compression=plan.compression, codec=plan.codec) for layer in plan.layers]
    locked = {one.key: one for one in plan.locked}
    absent = [
        i for i, layer in enumerate(plan.layers) if not isinstance(layer, BaseLayer) and store.layer(keys[i]) is None
    ]
    media_type = oci.LAYER_MEDIA_TYPES[plan.compression]
    executed: dict[int, PackedLayer] = {}
    for i in absent:
        if isinstance(plan.layers[i], Executed) and not fresh:
            layer = cache.find(keys[i], media_type=media_type)
            if layer is not None and _is_as_locked(layer, locked.get(keys[i]), cache=cache):
                executed[i] = layer
    running = [i for i, layer in enumerate(plan.layers) if isinstance(layer, Executed) and (i in absent or fresh)]
    highest = max([i for i in running if i not in executed], default=-1)
    needed = range(len(keys)) if elsewhere is None else range(highest)
    found = {
        i: Found(key=keys[i], layer=layer, pull=i in needed, proven=keys[i] in locked) for i, layer in executed.items()
    }
    wanted = {
        i: locked[keys[i]]
        for i in absent
        if i in needed and keys[i] in locked and not isinstance(plan.layers[i], Executed)
    }
    wanted = {
        i: one
        for i, one in wanted.items()
        if not store.has_blob(one.digest) and _is_worth(plan.layers[i], size=one.size, plan=plan, store=store)
    }
    there = cache.have(sorted({one.digest for one in wanted.values()}))
    for i, one in wanted.items():
        if one.digest in there:
            layer = PackedLayer(digest=one.digest, diff_id=one.diff_id, size=one.size, media_type=media_type)
            found[i] = Found(key=keys[i], layer=layer, pull=True, proven=True)
    return found


def take(
    plan: Plan, *, cache: CacheRepository, store: Store, fresh: bool, elsewhere: Collection[str] | None
) -> tuple[Plan, frozenset[str]]:
    """Bring what `look` says, and the plan with what the backend must know of the rest: it is locked, and elsewhere."""
    found = look(plan, cache=cache, store=store, fresh=fresh, elsewhere=elsewhere)
    bring(found, cache=cache, store=store)
    left = [one for one in found.values() if not one.pull]
    more = tuple(
        Locked(key=one.key, digest=one.layer.digest, diff_id=one.layer.diff_id, size=one.layer.size) for one in left
    )
    there = frozenset(elsewhere or ()) | {one.layer.digest for one in left}
    return dataclasses.replace(plan, locked=(*plan.locked, *more)), there


def bring(found: Mapping[int, Found], *, cache: CacheRepository, store: Store) -> None:
    """Pull what is to be pulled, several at a time, the largest first; what cannot be had is made as usual."""
    from builder.registry.workers import in_parallel

    wanted = sorted((one for one in found.values() if one.pull), key=lambda one: -one.layer.size)

    def work(one: Found) -> None:
        if cache.fetch(one.layer, key=one.key, proven=one.proven):
            if not one.proven:  # else the lock says it to its own project; a key is every project's
                store.record_layer(one.key, one.layer)
            cache.report.note(f"pulled {one.layer.digest[7:19]} from the cache {cache.name}")

    in_parallel(work, wanted, parallel=PARALLEL, stop=threading.Event())


def keep(plan: Plan, layers: Sequence[PackedLayer], *, cache: CacheRepository, store: Store) -> None:
    """Put those layers of the plan there that are here and of use to other images: not the project's files."""
    from builder.registry.workers import in_parallel

    ours = [
        (layer, packed)
        for layer, packed in zip(plan.layers, layers, strict=True)
        if not isinstance(layer, BaseLayer | FilesLayer) and store.has_blob(packed.digest)
    ]

    def work(one: tuple[Layer, PackedLayer]) -> None:
        layer, packed = one
        key = layer_key(layer, compression=plan.compression, codec=plan.codec)
        cache.keep(key, packed, title=title(layer))

    in_parallel(work, sorted(ours, key=lambda one: -one[1].size), parallel=PARALLEL, stop=threading.Event())


def _is_as_locked(layer: PackedLayer, locked: Locked | None, *, cache: CacheRepository) -> bool:
    if locked is None or (locked.digest, locked.diff_id) == (layer.digest, layer.diff_id):
        return True
    cache.report.warn(f"refused what {cache.name} has for the key {locked.key[:12]}: the lock names {locked.digest}")
    return False


def _is_worth(layer: Layer, *, size: int, plan: Plan, store: Store) -> bool:
    """Whether to pull a layer of `size` bytes that can also be made here."""
    from builder.backends.making import wanted_downloads

    if isinstance(layer, BytecodeLayer):  # compiling takes longer than anything on the way
        return True
    wanted = wanted_downloads(layer)
    missing = [one for one in plan.remotes if one.sha256 in wanted and not store.has_file(one.sha256)]
    if any(one.name.endswith(".whl") and not one.urls for one in missing):  # it would have to be built
        return True
    return size <= WORTH * sum(one.size for one in missing)
