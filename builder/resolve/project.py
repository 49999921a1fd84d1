"""Config + the world → Lock: the base, the interpreter, the wheels and the server's wheels, each by hash.

The only place that knows in which order a project's parts are resolved.  Reads no environment: `World` holds it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from builder import __version__
from builder.config import Config, config_hash, debian_suite
from builder.errors import ConfigError
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import Interpreter, Remote
from builder.report import Report
from builder.store import Store

GLIBC = {"bookworm": "2.36", "trixie": "2.41"}
"""glibc of each Debian release: it bounds the manylinux tag of the wheels."""


BASE_PLACE = "base place"
"""Memos of this kind say, by the digest of a base, which project's folder a local reference to it starts from."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside the project that a resolution reads."""

    store: Store
    env: Mapping[str, str]
    mirrors: tuple[str, ...]
    """Debian mirrors, the preferred one first."""
    now: dt.datetime
    """With time zone: expired keys and stale release files are refused."""
    report: Report


def resolve(
    config: Config,
    *,
    project: Path,
    requirements: str,
    platform: str,
    world: World,
    keep: Mapping[str, str],
    old: Lock | None = None,
) -> Lock:
    """Resolve a project for `platform` (`linux/amd64`).

    `requirements` is the text of the requirements file, or of `python_packages`, one a line; paths in it are relative
    to `project`.  `keep` maps package names to versions that stay where they are still allowed; the base of `old`
    stays if it is one that the configuration asks for.  Raises `ResolveError`, `FetchError` or `RegistryError`.
    """
    from builder.resolve.python import resolve_python
    from builder.resolve.runtime import resolve_runtime

    if old is not None and _answers(old, config=config, platform=platform):
        base, interpreter, remotes = old.base, old.interpreter, _base_remotes(old)
    else:
        base, interpreter, remotes = _base(config, project=project, platform=platform, world=world)
    glibc = base.glibc if isinstance(base, ImageBase) else GLIBC[base.suite]
    wheels, wheel_remotes = resolve_python(
        requirements,
        project=project,
        python_version=interpreter.version,
        platform=platform,
        glibc=glibc,
        keep=keep,
        folder=(project / (config.python_requirements or "")).parent if config.python_requirements else project,
        store=world.store,
        env=world.env,
        report=world.report,
    )
    runtime_wheels, runtime_remotes = resolve_runtime(
        python_version=interpreter.minor, platform=platform, store=world.store, env=world.env, report=world.report
    )
    unique = {remote.sha256: remote for remote in (*remotes, *wheel_remotes, *runtime_remotes)}
    return Lock(
        config_hash=config_hash(config, requirements),
        platform=platform,
        interpreter=interpreter,
        base=base,
        wheels=wheels,
        runtime_version=__version__,
        runtime_wheels=runtime_wheels,
        remotes=tuple(sorted(unique.values(), key=lambda remote: (remote.name, remote.sha256))),
    )


def _answers(old: Lock, *, config: Config, platform: str) -> bool:
    """Whether the base of `old` is one that `config` asks for."""
    if old.platform != platform or old.interpreter.minor != config.python_minor:
        return False
    if isinstance(old.base, ImageBase):
        return old.base.reference == config.base_image and ":" not in old.base.reference.split("/")[0]
    return not config.base_image


def _base_remotes(old: Lock) -> tuple[Remote, ...]:
    debs = {deb.sha256 for deb in old.base.debs} if isinstance(old.base, DebianBase) else set()
    return tuple(remote for remote in old.remotes if remote.sha256 in debs)


def _base(
    config: Config, *, project: Path, platform: str, world: World
) -> tuple[DebianBase | ImageBase, Interpreter, tuple[Remote, ...]]:
    if config.base_image:
        from builder.resolve.base import resolve_image_base

        base, interpreter = resolve_image_base(
            config.base_image,
            project=project,
            python_version=config.python_version,
            platform=platform,
            store=world.store,
            env=world.env,
            report=world.report,
        )
        world.store.remember(BASE_PLACE, base.digest, str(project))
        return base, interpreter, ()
    suite = debian_suite(config.python_version)
    if suite is None:
        raise ConfigError(
            f"there is no Debian base with Python {config.python_version}",
            hint="use python_version 3.11 or 3.13, or name an image that has this Python in `build.base_image`",
        )
    from builder.resolve.debian import resolve_debian

    return resolve_debian(
        suite=suite,
        architecture=platform.split("/")[1],
        mirrors=world.mirrors,
        store=world.store,
        report=world.report,
        now=world.now,
    )
