"""What a build and a push would move, layer by layer and in bytes, before anything moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from builder.backends.making import wanted_downloads
from builder.cli.elsewhere import Elsewhere
from builder.frozen import frozen
from builder.plan import BaseLayer, Layer, Plan, layer_key
from builder.store import Store


@frozen
class Transfer:
    """What becomes of a layer.  `size` is of its blob (None: not known before it is made), others in bytes too.

    `state` says where it is: `here`, `in REPOSITORY`, `in the registry` (a base's own), or `to make`.
    """

    state: str
    size: int | None
    download: int = 0
    upload: int | None = None
    """None where nothing was asked about a push, or the size is not known."""


def transfers(plan: Plan, *, store: Store, elsewhere: Elsewhere | None) -> list[Transfer]:
    """For each layer, in order.  With `elsewhere` (the target first), also what a push would send."""
    sizes = {remote.sha256: remote.size for remote in plan.remotes}
    blobs = [_blob(layer, plan=plan, store=store) for layer in plan.layers]
    target, places = _places([digest for digest, _ in blobs if digest], elsewhere=elsewhere, store=store)
    found: list[Transfer] = []
    for layer, (digest, size) in zip(plan.layers, blobs, strict=True):
        here = digest is not None and store.has_blob(digest)
        upload = None if elsewhere is None else 0 if digest in target else size
        if here:
            found.append(Transfer(state="here", size=size, upload=upload))
        elif digest in places:
            found.append(Transfer(state=f"in {places[digest]}", size=size, upload=upload))
        elif isinstance(layer, BaseLayer):
            found.append(Transfer(state="in the registry", size=size, upload=upload))
        else:
            missing = [sha256 for sha256 in wanted_downloads(layer) if not store.has_file(sha256)]
            download = sum(sizes.get(sha256, 0) for sha256 in missing)
            found.append(Transfer(state="to make", size=size, download=download, upload=upload))
    return found


def _blob(layer: Layer, *, plan: Plan, store: Store) -> tuple[str | None, int | None]:
    """Digest and size of a layer's blob, where they are known."""
    if isinstance(layer, BaseLayer):
        return layer.digest, layer.size
    key = layer_key(layer, compression=plan.compression, codec=plan.codec)
    packed = store.layer(key)
    if packed is not None:
        return packed.digest, packed.size
    locked = next((locked for locked in plan.locked if locked.key == key), None)
    return (locked.digest, locked.size) if locked else (None, None)


def _places(digests: Sequence[str], *, elsewhere: Elsewhere | None, store: Store) -> tuple[set[str], dict[str, str]]:
    """What the target has, and the repository that has each blob."""
    if elsewhere is None:
        return set(), {}
    places: dict[str, str] = {}
    target: set[str] = set()
    for number, reference in enumerate(elsewhere.repositories):
        one = dataclasses.replace(elsewhere, repositories=(reference,))
        there = one.have(digests, store=store)
        if number == 0:
            target = there
        for digest in there:
            places.setdefault(digest, reference.name)
    return target, places
