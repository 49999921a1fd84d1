"""The Kaniko backend: pure layers by the packer in this process, steps by Kaniko's executor in a sandbox of our own.

Kaniko makes no bytes of an image: what it says a step changed is normalised and packed by us.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from builder import sandbox
from builder.backends import Execution, making
from builder.backends.steps import Executed, Executor
from builder.errors import BackendError
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.report import Report
from builder.store import Store, StoredImage

NAME = "executor"
"""What the program is called where it is found on `PATH`."""

WHERE = (
    "no distribution has it; take it out of its image: `podman create --name kaniko ghcr.io/osscontainertools/kaniko "
    "&& podman cp kaniko:/kaniko/executor ~/.local/bin/executor && podman rm kaniko`, and name it in "
    "`COGSMITH_KANIKO_EXECUTOR` if it is not on `PATH`"
)


def check(plan: Plan) -> Sequence[str]:
    """What an ordinary user lacks to have all ids of an image, for steps; the rest is looked at when one is to run.

    An image without steps, or whose steps are in the store, needs nothing.
    """
    if not any(isinstance(layer, Executed) for layer in plan.layers):
        return []
    return [str(problem) for problem in sandbox.missing_ids()]


def find(given: str | None) -> Path:
    """The executor: what the user named, a path or a program, or `executor` on `PATH`.

    `BackendError` with how to get it where there is none.
    """
    name = given or NAME
    found = shutil.which(os.path.expanduser(name))  # noqa: PTH111  a name without a slash stays one
    if found is not None:
        return Path(found).absolute()
    if given and Path(given).exists():
        raise BackendError(f"`{given}` cannot be executed", hint=f"`chmod +x {given}`")
    if given and "/" in given:
        raise BackendError(f"there is no `{given}`, which is to be Kaniko's executor", hint=WHERE)
    raise BackendError(f"could not find Kaniko's `{name}`, which is to run commands", hint=WHERE)


def _executor(execution: Execution) -> Executor:
    from builder.backends.kaniko_steps import Kaniko

    return Kaniko(program=execution.settings.get("kaniko_executor"))


make = functools.partial(making.make, executor=_executor)
"""The layers of a plan, in its order; see `Backend.make`."""


def deliver(
    image: StoredImage, *, store: Store, report: Report, fetch: Callable[[PackedLayer], None] | None = None
) -> None:
    """Kaniko keeps no images of its own: nothing to do."""
    del image, store, report, fetch
