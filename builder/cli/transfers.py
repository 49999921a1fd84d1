"""What a build and a push would move, layer by layer and in bytes, before anything moves."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.backends.making import wanted_downloads
from builder.backends.steps import Executed
from builder.cli.caching import Found, look
from builder.cli.elsewhere import Elsewhere
from builder.errors import RegistryError
from builder.frozen import frozen
from builder.plan import BaseLayer, Layer, Plan, layer_key
from builder.store import Store

if TYPE_CHECKING:
    from builder.registry.cache import CacheRepository


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


def transfers(
    plan: Plan, *, store: Store, elsewhere: Elsewhere | None, cache: CacheRepository | None = None, fresh: bool = False
) -> list[Transfer]:
    """For each layer, in order.

    With `elsewhere` (the target first), also what a push would send: nothing of what the registry mounts.  With
    `cache`, what would be taken from there; `fresh` commands run again, whatever it has.
    """
    sizes = {remote.sha256: remote.size for remote in plan.remotes}
    blobs = [_blob(layer, plan=plan, store=store) for layer in plan.layers]
    target, places = _places([digest for digest, _ in blobs if digest], elsewhere=elsewhere, store=store)
    registry = elsewhere.repositories[0].registry if elsewhere else ""
    mounted = _mounted([digest for digest, _ in blobs if digest and digest not in target], elsewhere, store=store)
    cached: Mapping[int, Found] = {}
    if cache is not None:
        there = None if elsewhere is None else places
        cached = look(plan, cache=cache, store=store, fresh=fresh, elsewhere=there)
    found: list[Transfer] = []
    counted: set[str] = set()  # a wheel is downloaded once for its layer and for its bytecode
    for i, (layer, (digest, size)) in enumerate(zip(plan.layers, blobs, strict=True)):
        here = digest is not None and store.has_blob(digest) and not (fresh and isinstance(layer, Executed))
        if i in cached:
            digest, size = cached[i].layer.digest, cached[i].layer.size
        upload = None if elsewhere is None else 0 if digest in target or digest in mounted else size
        if here:
            found.append(Transfer(state="here", size=size, upload=upload))
        elif i in cached and cache is not None:
            down = cached[i].layer.size if cached[i].pull else 0
            upload = 0 if registry and registry == cache.reference.registry else upload  # mounted
            found.append(Transfer(state=f"in {cache.name}", size=size, download=down, upload=upload))
        elif digest in places:
            upload = 0 if registry and places[digest].startswith(f"{registry}/") else upload
            found.append(Transfer(state=f"in {places[digest]}", size=size, upload=upload))
        elif isinstance(layer, BaseLayer):
            found.append(Transfer(state="in the registry", size=size, upload=upload))
        else:
            missing = [x for x in wanted_downloads(layer) if x not in counted and not store.has_file(x)]
            counted.update(missing)
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


def _mounted(digests: Sequence[str], elsewhere: Elsewhere | None, *, store: Store) -> set[str]:
    """Those that a push need not send, for another repository of the target's registry has them still."""
    if elsewhere is None or not digests:
        return set()
    from builder.registry import known
    from builder.registry.client import Access, Client
    from builder.registry.places import full
    from builder.registry.push import have

    target = full(elsewhere.repositories[0], env=elsewhere.settings.env)
    seen: dict[str, list[str]] = {}
    for digest in digests:
        repository = known.mount_from(store, registry=target.registry, digest=digest)
        if repository is not None and repository != target.repository:
            seen.setdefault(repository, []).append(digest)
    found: set[str] = set()
    for repository, those in seen.items():
        with contextlib.suppress(RegistryError):  # what cannot be asked will not mount either
            there = dataclasses.replace(target, repository=repository, tag="", digest="")
            found |= have(Client(there, access=Access(env=elsewhere.settings.env)), those)
    return found
