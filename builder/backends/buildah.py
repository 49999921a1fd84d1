"""The Buildah backend: pure layers by the packer in this process, steps by `buildah run`, the image where podman looks.

Buildah makes no bytes of an image: what a step left in its working container is normalised and packed by us.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence

from builder import sandbox
from builder.backends import Execution, making
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


def _executor(execution: Execution) -> Executor:
    from builder.backends.buildah_steps import Buildah

    settings = execution.settings
    return Buildah(isolation=settings.get("isolation", "auto"), driver=settings.get("storage_driver", "auto"))


make = functools.partial(making.make, executor=_executor)
"""The layers of a plan, in its order; see `Backend.make`."""


def deliver(
    image: StoredImage, *, store: Store, report: Report, fetch: Callable[[PackedLayer], None] | None = None
) -> None:
    """Put `image` into the user's containers-storage, where podman, buildah and skopeo find it by its name."""
    name = containers_storage.deliver(image, store=store, program="buildah", report=report, fetch=fetch)
    report.note(f"podman run {name}")
