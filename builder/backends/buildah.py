"""The Buildah backend: pure layers by the packer in this process, steps by `buildah run`, the image where podman looks.

Buildah makes no bytes of an image: what a step left in its working container is normalised and packed by us.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from builder import sandbox
from builder.backends import Execution, Fetch, making
from builder.backends.steps import Executed, Executor
from builder.engine import containers_storage
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.report import Report
from builder.store import Store, StoredImage


def check(plan: Plan) -> Sequence[str]:
    """All that is missing on this machine: Buildah, and for steps what gives an ordinary user all ids of an image."""
    problems = []
    if shutil.which("buildah") is None:
        problems.append(f"`buildah` is not installed: {containers_storage.INSTALL['buildah']}")
    if any(isinstance(layer, Executed) for layer in plan.layers):
        problems += [str(problem) for problem in sandbox.missing_ids()]
    return problems


def make(
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
    """The layers of `plan`, in its order; see `Backend.make`."""
    settings = execution.settings if execution is not None else {}

    def executor() -> Executor:
        from builder.backends.buildah_steps import Buildah

        return Buildah(isolation=settings.get("isolation", "auto"), driver=settings.get("storage_driver", "auto"))

    return making.make(
        plan,
        executor=executor,
        store=store,
        local=local,
        fetch=fetch,
        threads=threads,
        report=report,
        elsewhere=elsewhere,
        execution=execution,
    )


def deliver(
    image: StoredImage, *, store: Store, report: Report, fetch: Callable[[PackedLayer], None] | None = None
) -> None:
    """Put `image` into the user's containers-storage, where podman, buildah and skopeo find it by its name."""
    name = containers_storage.deliver(image, store=store, program="buildah", report=report, fetch=fetch)
    report.note(f"podman run {name}")
