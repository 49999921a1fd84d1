"""The system packages of a project, over the base that was resolved for it."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import TYPE_CHECKING

from builder.config import Config
from builder.errors import ResolveError
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import Deb, Remote
from builder.resolve.apt import choose, stays
from builder.resolve.apt.archives import image_archives, own_archives

if TYPE_CHECKING:
    from builder.resolve.project import World


def system_packages(
    config: Config,
    *,
    base: DebianBase | ImageBase,
    remotes: tuple[Remote, ...],
    platform: str,
    world: World,
    old: Lock | None,
    moving: Collection[str],
) -> tuple[tuple[Deb, ...], tuple[Remote, ...]]:
    """What `build.system_packages` needs over `base`; what `old` has of it stays where it fits, but for `moving`.

    `remotes` are those of the base's packages.
    """
    if world.open_image is None:
        raise ResolveError(
            "system packages cannot be resolved here: there is nobody to open an image", hint="build with a lock file"
        )
    opening = world.open_image
    image = functools.cache(lambda: opening(base, remotes))
    if isinstance(base, DebianBase):
        archives = own_archives(base, mirrors=world.mirrors, store=world.store, report=world.report, now=world.now)
    else:
        archives = image_archives(
            image(),
            architecture=platform.split("/")[1],
            debian=world.mirrors,
            ubuntu=world.ubuntu,
            store=world.store,
            report=world.report,
            now=world.now,
        )
    debs, found = choose(
        config.system_packages,
        base=base,
        image=image,
        archives=archives,
        keep=stays(old.system_packages, moving=moving, archives=archives) if old is not None else {},
        kept_remotes=old.remotes if old is not None else (),
        store=world.store,
        report=world.report,
    )
    if not debs:
        world.report.note("all of `build.system_packages` is in the base: there is nothing to install")
    return debs, found
