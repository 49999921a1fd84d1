"""The backends: modules that satisfy `Backend`, listed in `BACKENDS`.

A backend carries out a plan.  It runs commands where a layer is executed; it never makes bytes that end up in an image:
the packer in `builder.layers` does, which is why every backend gives the same digest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from builder.errors import BackendError
from builder.frozen import frozen
from builder.oci import PackedLayer
from builder.plan import Deb, Plan, Remote
from builder.report import Report
from builder.store import Store, StoredImage

BACKENDS: dict[str, str] = {
    "embedded": "builder.backends.embedded",
    "nix": "builder.backends.nix",
    "buildah": "builder.backends.buildah",
    "kaniko": "builder.backends.kaniko",
}
"""Name → module.  Names rather than modules, so that choosing one does not import the others."""

DEFAULT = "embedded"


Fetch: TypeAlias = Callable[[Iterable[Remote]], Mapping[str, Path]]
"""Downloads what a plan names by hash, verified: sha256 → path."""


@frozen
class Execution:
    """What commands need of whoever builds.  None of it is part of a plan, a key or a log."""

    secrets: Mapping[str, bytes] = field(default_factory=dict)
    """Values by id."""
    base: Callable[[PackedLayer], None] | None = None
    """Brings a layer of the base image into the store."""
    fresh: bool = False
    """Run every command again, whatever is known."""
    debug_shell: bool = False
    """Open a shell in the state that a failed command leaves."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of one backend or another, by name: `isolation`, `storage_driver` (Buildah), `kaniko_executor`."""
    debian: Callable[[], tuple[Sequence[Deb], Sequence[Remote]]] | None = None
    """Resolves the packages of a Debian base for this machine: for a backend that needs an interpreter (Nix)."""


class Backend(Protocol):
    """What a module must offer to be a backend."""

    def check(self, plan: Plan) -> Sequence[str]:
        """All that is missing here to carry out `plan`, each with what to do about it; empty when all is there."""

    def make(
        self,
        plan: Plan,
        *,
        store: Store,
        local: Mapping[str, Path],
        fetch: Fetch,
        threads: int,
        report: Report,
        elsewhere: Container[str] = frozenset(),
        execution: Execution | None = None,
    ) -> Sequence[PackedLayer]:
        """Put every layer of `plan` into the store that is not there, and return all in the order of the plan.

        A base image's layers need not be there.  `local` maps sha256 → path of the files that need no download (the
        project's and the runtime's), `fetch` gets the others; `threads` bounds the work done at once.
        A locked layer whose digest is `elsewhere` (where the image is going) need not be made, unless a command is to
        run on it.
        """

    def deliver(
        self, image: StoredImage, *, store: Store, report: Report, fetch: Callable[[PackedLayer], None] | None = None
    ) -> None:
        """Put a finished image where the backend's own tools find it; nothing, for most.

        `fetch` brings layers of a foreign base into the store.
        """


def unknown(name: str) -> BackendError:
    """The error for a name that is none of `BACKENDS`."""
    return BackendError(f"there is no backend `{name}`", hint=f"choose one of: {', '.join(sorted(BACKENDS))}")


def backend(name: str) -> Backend:
    """The backend called `name`; a `BackendError` that lists them if there is none."""
    if name not in BACKENDS:
        raise unknown(name)
    return cast("Backend", importlib.import_module(BACKENDS[name]))
