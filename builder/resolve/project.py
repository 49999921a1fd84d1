"""Config + the world → Lock: the base, the interpreter, the wheels and the server's wheels, each by hash.

The only place that knows in which order a project's parts are resolved.  Reads no environment: `World` holds it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from packaging.specifiers import SpecifierSet

from builder import __version__
from builder.config import Config, config_hash, debian_pythons, debian_suite
from builder.config.sections import minor_of
from builder.errors import ConfigError, ResolveError
from builder.frozen import frozen
from builder.lock import Cuda, DebianBase, ImageBase, Lock
from builder.plan import Interpreter, PythonArchive, Remote
from builder.report import Report
from builder.resolve import cuda
from builder.resolve.apt.image import OpenImage
from builder.resolve.environment import Environment, OpenBuilder
from builder.resolve.packages import Packages
from builder.resolve.wheels import UnsatisfiableError
from builder.store import Store

GLIBC = {"bookworm": "2.36", "trixie": "2.41"}
"""glibc of each Debian release: it bounds the manylinux tag of the wheels."""


PYTHONS = ("3.14", "3.13", "3.12", "3.11", "3.10", "3.9", "3.8")
"""All that an image can have."""

PLAIN_SUITE = "bookworm"
"""The Debian release under a Python that no release brings; its base is the one that other models have."""

BASE_PLACE = "base place"
"""Memos of this kind say, by the digest of a base, which project's folder a local reference to it starts from."""


@frozen
class World:
    """Everything outside the project that a resolution reads."""

    store: Store
    env: Mapping[str, str]
    mirrors: tuple[str, ...]
    """Debian mirrors, the preferred one first."""
    now: dt.datetime
    """With time zone: expired keys and stale release files are refused."""
    report: Report
    ubuntu: tuple[str, ...] = ()
    """Mirrors of Ubuntu, for base images that are one."""
    open_image: OpenImage | None = None
    """Opens a base for its own apt to be asked; needed for `build.system_packages` only."""
    open_builder: OpenBuilder | None = None
    """Opens the environment in which packages without a wheel are built; without it they are refused."""


def resolve(
    config: Config,
    *,
    project: Path,
    requirements: str,
    platform: str,
    world: World,
    keep: Mapping[str, str],
    old: Lock | None = None,
    moving: Collection[str] = (),
) -> Lock:
    """Resolve a project for `platform` (`linux/amd64`).

    `requirements` is the text of the requirements file, or of `python_packages`, one a line, or what
    `resolve.pyproject.Files.dumps` makes of a `python_project`; paths in it are relative to `project`.  `keep` maps
    package names to versions that stay where they are still allowed; the base of `old` stays if it is one that the
    configuration asks for, and so do its system packages but for those named in `moving`.
    Raises `ResolveError`, `FetchError` or `RegistryError`.

    Where the configuration names no Python, a base image decides; else it is the newest of a Debian base for which
    all packages can be had, though the one of `old` comes first.
    """
    from builder.resolve.compilers import resolve_compilers
    from builder.resolve.runtime import build_id, resolve_runtime, runtime_files

    packages = Packages.of(
        config, project=project, text=requirements, store=world.store, env=world.env, report=world.report
    )
    pythons = _pythons(config, allowed=packages.requires_python, old=old)
    troubles: list[UnsatisfiableError] = []
    decision: Cuda | None = None
    for python in pythons:
        asked = dataclasses.replace(config, python_version=python)
        image, tried, kept = cuda.first_image(asked, old=old), set[str](), keep
        try:
            while True:
                if old is not None and _answers(old, config=asked, platform=platform, image=image):
                    base, interpreter, archive, remotes = old.base, old.interpreter, old.python, _base_remotes(old)
                else:
                    base, interpreter, archive, remotes = _base(
                        asked, project=project, platform=platform, world=world, image=image
                    )
                environment = Environment(
                    asked,
                    base=base,
                    interpreter=interpreter,
                    python=archive,
                    remotes=remotes,
                    platform=platform,
                    world=world,
                    old=old,
                    moving=moving,
                )
                wheels, wheel_remotes, built = packages.resolve(
                    interpreter.version,
                    platform=platform,
                    glibc=base.glibc if isinstance(base, ImageBase) else GLIBC[base.suite],
                    keep=kept,
                    builder=environment.builder if world.open_builder else None,
                )
                decision = cuda.decide(asked, wheels=wheels, remotes=wheel_remotes, platform=platform, world=world)
                if decision is None or decision.image == image or image in tried:
                    break
                # What the packages are decides what they stand on, and that which of their files fit.
                world.report.note(f"the base is {decision.image or 'Debian'}: {'; '.join(decision.reasons)}")
                tried.add(image)
                image, kept = decision.image, {wheel.name: wheel.version for wheel in wheels}
        except UnsatisfiableError as problem:
            troubles.append(cuda.explained(problem, text=packages.text, python=python))
            continue
        break
    else:
        raise troubles[0] if len(troubles) == 1 else _none_fits(pythons, troubles=troubles)
    if not config.python_version and not config.base_image:
        before = old is not None and old.interpreter.minor == python
        of = "of a Debian base " if python in debian_pythons() else ""
        why = "as before" if before else f"the newest {of}that the packages allow"
        world.report.note(f"build.python_version is not set: taking {python}, {why}")
    runtime_wheels, runtime_remotes = resolve_runtime(
        python_version=interpreter.minor, platform=platform, store=world.store, env=world.env, report=world.report
    )
    debs, deb_remotes = environment.system_packages()
    compilers, more = resolve_compilers(base, interpreter=interpreter, python=archive, platform=platform, world=world)
    unique = {remote.sha256: remote for remote in (*remotes, *wheel_remotes, *runtime_remotes, *deb_remotes, *more)}
    return Lock(
        config_hash=config_hash(config, requirements),
        platform=platform,
        interpreter=interpreter,
        base=base,
        wheels=wheels,
        runtime_version=__version__,
        runtime_wheels=runtime_wheels,
        python=archive,
        cuda=decision,
        system_packages=debs,
        built=built,
        compilers=compilers,
        runtime_build=build_id(runtime_files(hash_file=world.store.hash_file)[0]),
        remotes=tuple(sorted(unique.values(), key=lambda remote: (remote.name, remote.sha256))),
    )


def _pythons(config: Config, *, allowed: str, old: Lock | None) -> tuple[str | None, ...]:
    """The Pythons to try, in this order; None is whichever the base image has."""
    if config.python_version or config.base_image:
        minor = config.python_minor
        if minor and not _is_allowed(minor, allowed):
            raise ConfigError(
                f"pyproject.toml is for Python {allowed}, and `build.python_version` is {config.python_version}",
                hint="name a Python that both allow",
            )
        return (config.python_version,)
    needed = (3, 11) if (config.concurrency or 0) > 1 else (0, 0)
    fitting = [minor for minor in debian_pythons() if _is_allowed(minor, allowed) and minor_of(minor) >= needed]
    if not fitting:  # one alone: each is a download
        fitting = [minor for minor in PYTHONS if _is_allowed(minor, allowed) and minor_of(minor) >= needed][:1]
    if not fitting:
        raise ConfigError(
            f"pyproject.toml is for Python {allowed}, and there are {', '.join(PYTHONS)}",
            hint="widen `requires-python`, or name an image that has such a Python in `build.base_image`",
        )
    if old is not None and old.interpreter.minor in fitting:
        fitting.sort(key=lambda minor: minor != old.interpreter.minor)
    return tuple(fitting)


def _is_allowed(minor: str, specifier: str) -> bool:
    # A late patch release: `>=3.11.4` allows 3.11, and which one it is the base decides.
    return any(SpecifierSet(specifier).contains(f"{minor}{patch}") for patch in ("", ".0", ".99"))


def _none_fits(pythons: Sequence[str | None], *, troubles: Sequence[ResolveError]) -> ResolveError:
    parts = [f"Python {python}: {problem.brief}" for python, problem in zip(pythons, troubles, strict=True)]
    return ResolveError(
        "the Python packages can be had for none of the Pythons of a Debian base",
        details="\n".join([*parts, *filter(None, [troubles[0].details])]),
        hint="loosen a version, or name another Python in `build.python_version`",
    )


def _answers(old: Lock, *, config: Config, platform: str, image: str) -> bool:
    """Whether the base of `old` is one that `config` asks for."""
    if old.platform != platform or config.python_minor not in (None, old.interpreter.minor):
        return False
    if isinstance(old.base, ImageBase):
        wanted = config.base_image or image
        return old.base.reference == wanted and ":" not in old.base.reference.split("/")[0]
    return not config.base_image and not image


def _base_remotes(old: Lock) -> tuple[Remote, ...]:
    own = {deb.sha256 for deb in old.base.debs} if isinstance(old.base, DebianBase) else set()
    if old.python:
        own.add(old.python.sha256)
    return tuple(remote for remote in old.remotes if remote.sha256 in own)


def _base(
    config: Config, *, project: Path, platform: str, world: World, image: str = ""
) -> tuple[DebianBase | ImageBase, Interpreter, PythonArchive | None, tuple[Remote, ...]]:
    """What the image stands on; `image` is what CUDA needs there, where the configuration names none."""
    python = config.python_version or ""
    if config.base_image or image:
        from builder.resolve.base import no_python, resolve_bare_base

        reference = config.base_image or image
        base, interpreter = resolve_bare_base(
            reference,
            project=project,
            python_version=config.python_version,
            platform=platform,
            store=world.store,
            env=world.env,
            report=world.report,
            glibc=cuda.known_glibc(reference),
        )
        world.store.remember(BASE_PLACE, base.digest, str(project))
        if interpreter is not None:
            return base, interpreter, None, ()
        if not python:
            raise no_python(reference, python_version=None)
        from builder.resolve.interpreter import resolve_interpreter

        interpreter, archive, remote = resolve_interpreter(
            python, platform=platform, store=world.store, env=world.env, report=world.report
        )
        return base, interpreter, archive, (remote,)
    suite = debian_suite(python)
    from builder.resolve.debian import resolve_debian

    debian, interpreter, remotes = resolve_debian(
        suite=suite or PLAIN_SUITE,
        architecture=platform.split("/")[1],
        mirrors=world.mirrors,
        store=world.store,
        report=world.report,
        now=world.now,
    )
    if suite is not None:
        return debian, interpreter, None, remotes
    from builder.resolve.interpreter import resolve_interpreter

    interpreter, archive, remote = resolve_interpreter(
        python, platform=platform, store=world.store, env=world.env, report=world.report
    )
    return debian, interpreter, archive, (*remotes, remote)
