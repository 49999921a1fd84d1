"""Layers that registries have: they need not be made or downloaded here to be pushed there."""

from __future__ import annotations

from collections.abc import Sequence

from builder.cli.settings import Settings
from builder.errors import RegistryError
from builder.frozen import frozen
from builder.plan import Plan
from builder.reference import Reference
from builder.store import Store, StoredImage


@frozen
class Elsewhere:
    """The repositories that are asked: where the image goes, and where else layers may be."""

    repositories: tuple[Reference, ...]
    settings: Settings
    entered: bool = False
    """Whether a first repository that lets nobody in is an error at once, and not after everything is made."""

    @property
    def name(self) -> str:
        """What tells one set of repositories from another."""
        return " ".join(reference.name for reference in self.repositories)

    def layers_of(self, plan: Plan, *, store: Store) -> set[str]:
        """Digests of locked layers that are not here, but in one of the repositories; where is remembered."""
        return self.have([locked.digest for locked in plan.locked if not store.has_blob(locked.digest)], store=store)

    def still_has(self, image: StoredImage, *, store: Store) -> bool:
        """Whether the repositories still have the layers of the image that are not here and were seen there."""
        from builder.registry import known
        from builder.registry.places import full

        absent = [layer.digest for layer in image.layers if not store.has_blob(layer.digest)]
        names = {full(reference, env=self.settings.env).name for reference in self.repositories}
        seen = {digest: known.repository_of(store, digest=digest) for digest in absent}
        ours = [digest for digest, place in seen.items() if place is not None and place.name in names]
        return self.have(ours, store=store) == set(ours)

    def have(self, digests: Sequence[str], *, store: Store) -> set[str]:
        """Those of the blobs that one of the repositories has; a repository that cannot be asked has none."""
        if not digests:
            return set()
        from builder.registry import known
        from builder.registry.client import Access, Client
        from builder.registry.places import full
        from builder.registry.push import have

        found: set[str] = set()
        for number, reference in enumerate(self.repositories):
            access = Access(env=self.settings.env)
            try:
                client = Client(reference, access=access, actions="pull" if number else "pull,push")
                there = have(client, [digest for digest in digests if digest not in found])
            except RegistryError as problem:
                if self.entered and not number and problem.status in (401, 403):
                    raise
                continue  # the push itself will say what is wrong
            known.note(store, repository=full(reference, env=self.settings.env), digests=there)
            found |= there
        return found
