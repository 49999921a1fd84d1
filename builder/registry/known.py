"""What the store remembers of registries: in which repository a blob was seen last, for mounting and for fetching, and
the uploads that are not finished.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from builder import process
from builder.reference import Reference, parse
from builder.store import Store

_SEEN = "blob in a registry"
_UPLOAD = "upload"


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


class Uploads:
    """Unfinished uploads of one repository, in the store: they outlive this process.

    Each is marked with the process that is at it: two must not send to one address at once.
    """

    def __init__(self, store: Store, *, repository: str) -> None:
        self._store = store
        self._repository = repository

    def get(self, digest: str) -> str:
        """The address of the upload; empty if there is none, or another process is at it."""
        owner, _, location = (self._store.memo(_UPLOAD, f"{self._repository} {digest}") or "").partition(" ")
        return "" if owner and int(owner) != os.getpid() and process.is_running(int(owner)) else location

    def set(self, digest: str, location: str) -> None:
        """Remember the address; an empty text forgets."""
        self._store.remember(_UPLOAD, f"{self._repository} {digest}", f"{os.getpid()} {location}")
