"""What the store remembers of registries: in which repository a blob was seen last, for mounting and for fetching."""

from __future__ import annotations

from collections.abc import Iterable

from builder.reference import Reference, parse
from builder.store import Store

_SEEN = "blob in a registry"


def note(store: Store, *, repository: Reference, digests: Iterable[str]) -> None:
    """Remember that these blobs are in `repository` (its registry written out)."""
    for digest in digests:
        for key, value in ((digest, repository.name), (f"{repository.registry} {digest}", repository.repository)):
            if store.memo(_SEEN, key) != value:
                store.remember(_SEEN, key, value)


def mount_from(store: Store, *, registry: str, digest: str) -> str | None:
    """A repository of `registry` that had the blob."""
    return store.memo(_SEEN, f"{registry} {digest}")


def repository_of(store: Store, *, digest: str) -> Reference | None:
    """Where the blob was seen last, in whichever registry."""
    text = store.memo(_SEEN, digest)
    return parse(text) if text else None
