"""A base opened for its own apt to be asked: its layers made or brought, and unpacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from builder.cli.console import Console
from builder.cli.settings import Settings
from builder.lock import DebianBase, ImageBase
from builder.plan import Remote
from builder.store import Store

if TYPE_CHECKING:
    from builder.backends.asked import UnpackedImage


def opener(
    *, settings: Settings, store: Store, platform: str, console: Console
) -> Callable[[DebianBase | ImageBase, Sequence[Remote]], UnpackedImage]:
    """What opens a base for `platform`; it raises `SandboxError` where none of its programs can run."""

    def open_image(base: DebianBase | ImageBase, remotes: Sequence[Remote]) -> UnpackedImage:
        from builder.backends import asked
        from builder.cli.base import BASE_DIGEST, BASE_NAME, layers_of
        from builder.cli.project import make_layers
        from builder.compile import base_plan

        plan = base_plan(base, platform=platform, remotes=remotes, epoch=settings.epoch)
        asked.check(plan, store=store)
        layers = make_layers(plan, local={}, backend_name="embedded", settings=settings, store=store, console=console)
        fetch = None
        if isinstance(base, ImageBase):
            annotations = {BASE_NAME: base.reference, BASE_DIGEST: base.digest}
            fetch = layers_of(annotations, name=base.reference, store=store, settings=settings, report=console)
        return asked.UnpackedImage(layers, store=store, report=console, fetch=fetch)

    return open_image
