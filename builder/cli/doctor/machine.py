"""The checks of this machine: containers, user ids, uv, indexes, mirrors, the store.  The last two ask the network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from builder import sandbox
from builder.cli.console import size
from builder.cli.doctor.finding import Finding, from_error
from builder.cli.settings import Settings, debian_mirrors
from builder.engine import gpus
from builder.errors import CogsmithError, SandboxError
from builder.report import Report
from builder.store import Store

LITTLE = 5 * 10**9
"""Bytes of free space below which a model with PyTorch will not fit."""


def check(settings: Settings, *, offline: bool, report: Report) -> list[Finding]:
    """All findings."""
    found = [*_store(settings), *_containers(settings), *_gpus(), *_uv()]
    if not offline:
        found += [*_index(settings, report=report), *_mirrors(settings)]
    return found


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        store = Store.open(settings.store_root)
        used = sum(item.size for item in store.usage())
        free = shutil.disk_usage(store.root).free
    except CogsmithError as problem:
        yield from_error(problem)
        return
    except OSError as problem:
        yield Finding(level="error", text=f"the store {settings.store_root} cannot be read", details=str(problem))
        return
    text = f"the store {store.root} holds {size(used)}, {size(free)} are free"
    if free < LITTLE:
        yield Finding(level="warning", text=text, hint="`cogsmith cache prune` frees what no image needs")
    else:
        yield Finding(level="ok", text=text)


def _containers(settings: Settings) -> Iterator[Finding]:
    """Running needs namespaces; steps that change owners need a range of user ids, too."""
    problems = sandbox.check(scratch=settings.store_root / "run")
    if problems:
        yield from (from_error(problem) for problem in problems)
        return
    yield Finding(level="ok", text=f"containers run here (Linux {'.'.join(map(str, sandbox.kernel_release()))})")
    for problem in sandbox.check(scratch=settings.store_root / "run", ids="full"):
        found = from_error(problem, level="warning")
        yield Finding(
            level="warning",
            text=f"commands that change owners cannot run here: {found.text}",
            details=found.details,
            hint=found.hint,
        )


def _gpus() -> Iterator[Finding]:
    try:
        mounts = gpus.mounts(gpus.Wanted())
    except SandboxError:
        return  # most machines have none, and most models need none
    devices = [mount.target for mount in mounts if mount.target[-1:].isdigit() and "caps" not in mount.target]
    libraries = [mount for mount in mounts if "/libcuda.so" in mount.target]
    if libraries:
        yield Finding(level="ok", text=f"NVIDIA: {', '.join(devices)}")
    else:
        yield Finding(
            level="warning",
            text="there are NVIDIA devices, but not the driver's libraries (`libcuda.so.1`)",
            hint="install the driver's user-space part; inside a container, start it with all driver capabilities",
        )


def _uv() -> Iterator[Finding]:
    try:
        import uv

        yield Finding(level="ok", text=f"uv is at {uv.find_uv_bin()}")
    except (ImportError, FileNotFoundError) as problem:
        yield Finding(
            level="error",
            text="uv, which resolves Python packages, is missing",
            details=str(problem),
            hint="`pip install uv`",
        )


def _index(settings: Settings, *, report: Report) -> Iterator[Finding]:
    """Whether uv finds a package that every index has."""
    from builder.resolve import uv
    from builder.resolve.indexes import uv_environment

    store = Store.open(settings.store_root)
    try:
        env = uv_environment(settings.env, report=report)
        with store.scratch() as scratch:
            uv.compile_lock(["pip"], scratch=scratch, arguments=[], env=env)
    except CogsmithError as problem:
        yield from_error(problem)
    else:
        yield Finding(level="ok", text="the Python package index answers")


def _mirrors(settings: Settings) -> Iterator[Finding]:
    """Whether a mirror has the suites that the Debian base is made from."""
    from builder.resolve.debian.archive import read_url, shown
    from builder.resolve.debian.mirrors import mirror_credentials, plain_mirrors, session_factory

    mirrors = debian_mirrors(settings)
    if not mirrors:
        yield Finding(
            level="warning",
            text="no Debian mirror is known: images without `build.base_image` cannot be locked or made here",
            hint="set COGSMITH_DEBIAN_MIRROR, or `debian_mirror` in ~/.config/cogsmith/config.toml",
        )
        return
    session = session_factory(mirror_credentials(mirrors))()
    for mirror in plain_mirrors(mirrors):
        suite = "bookworm-security" if mirror.endswith("-security") else "bookworm"
        try:
            there = read_url(f"{mirror}/dists/{suite}/InRelease", session=session) is not None
        except CogsmithError as problem:
            yield from_error(problem, level="warning")
            continue
        name = shown(mirror)
        if there:
            yield Finding(level="ok", text=f"the Debian mirror {name} answers")
        else:
            yield Finding(level="warning", text=f"the Debian mirror {name} has no {suite}")
