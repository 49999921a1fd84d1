"""The default backend: every layer from the packer, in this process, and steps in our own sandbox.

Needs Python, and nothing else, for pure layers; commands need a kernel with user namespaces and all ids of an image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from builder.backends import Execution, making
from builder.backends.steps import Executor
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.report import Report
from builder.store import Store, StoredImage


def check(plan: Plan) -> Sequence[str]:
    """What is missing on this machine: nothing.  An executed layer that is not there yet is looked at in `make`."""
    del plan
    return []


def _executor(execution: Execution) -> Executor:
    """Our own sandbox; imported when a command is to run, for most builds run none."""
    from builder.backends.sandboxed import Sandboxed

    del execution
    return Sandboxed()


make = functools.partial(making.make, executor=_executor)
"""The layers of a plan, in its order; see `Backend.make`."""


def deliver(
    image: StoredImage, *, store: Store, report: Report, fetch: Callable[[PackedLayer], None] | None = None
) -> None:
    """Nothing: the image is in the store."""
    del image, store, report, fetch
