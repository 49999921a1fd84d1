"""`lock`: write or check `pylock.cog.toml`."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path

import click
from packaging.utils import NormalizedName, canonicalize_name

from builder.cli.build import check_platform
from builder.cli.building import open_project
from builder.cli.console import Console, say
from builder.cli.group import Command
from builder.cli.locking import preferred_platform, read_lock, resolve, why_stale
from builder.cli.options import BuildOptions, project_options
from builder.cli.project import Project, get_plan, make_layers, scan_files
from builder.cli.settings import read
from builder.errors import LockError
from builder.lock import Lock, dumps
from builder.plan import BaseLayer, FilesLayer, PackagesLayer, RunLayer, layer_key
from builder.store import Store

EVERYTHING = "*"
"""The value of `--upgrade` without a name."""


@click.command(cls=Command, epilog="Example: cogsmith lock && git add pylock.cog.toml")
@click.argument("project", default=".", type=click.Path(path_type=Path))
@click.option("--platform", metavar="OS/ARCH", help="linux/amd64 or linux/arm64 (default: linux/amd64).")
@click.option("--check", is_flag=True, help="Only say what is stale, and exit with 1 if anything is.")
@click.option(
    "--upgrade",
    is_flag=False,
    flag_value=EVERYTHING,
    multiple=True,
    metavar="[NAME]",
    help="Move NAME (--upgrade=NAME), or without it everything, to the newest version allowed.",
)
@click.option("--no-layers", is_flag=True, help="Do not make the layers whose digests the lock records.")
@click.option(
    "--cache-repo", metavar="REPOSITORY", help="Share wheels that are built from source through this repository."
)
@project_options
@click.pass_context
def lock(
    ctx: click.Context,
    *,
    project: Path,
    check: bool,
    upgrade: tuple[str, ...],
    no_layers: bool,
    options: BuildOptions,
) -> None:
    """Pin the base, the packages and the layers of PROJECT by hash in pylock.cog.toml.

    What is said of the base here (`--base`, `--use-cog-base-image`) is to be said again where the lock is used.
    """
    settings = read()
    settings = dataclasses.replace(
        settings, cache_repo=settings.cache_repo if options.cache_repo is None else options.cache_repo
    )
    console = Console(progress=options.progress)
    found = open_project(project, options=options, settings=settings, console=console)
    old = _old(found, check=check, console=console)
    wanted = check_platform(options.platform or (old.platform if old else preferred_platform(found, settings=settings)))
    store = Store.open(settings.store_root)
    stale = ["there is no lock file"]
    if old is not None:
        stale = why_stale(old, project=found, platform=wanted, store=store)
    if check:
        for reason in stale:
            say(reason)
        ctx.exit(1 if stale else 0)
    if not stale and not upgrade and old is not None and (old.layers or no_layers):
        console.note(f"{found.lock_path.name} is up to date")
        return
    with store.using(report=console):
        if stale or upgrade or old is None:
            moving = {canonicalize_name(name): name for name in upgrade if name != EVERYTHING}
            keep = {wheel.name: wheel.version for wheel in old.wheels if wheel.name not in moving} if old else {}
            if EVERYTHING in upgrade:
                keep = {}
            new = resolve(
                found,
                settings=settings,
                store=store,
                platform=wanted,
                console=console,
                keep=keep,
                base=None if EVERYTHING in upgrade else old,
                moving=moving.values(),
            )
            _check_names(moving, lock=new)
        else:
            new = old
        if not no_layers:
            files = scan_files(found, store=store)
            plan = get_plan(found, lock=new, files=files, settings=settings, options=BuildOptions(), with_code=False)
            kept = tuple(layer for layer in plan.layers if not isinstance(layer, FilesLayer | PackagesLayer | RunLayer))
            plan = dataclasses.replace(plan, layers=kept)
            layers = make_layers(
                plan,
                local=files.local,
                backend_name=settings.backend,
                settings=settings,
                store=store,
                console=console,
                texts=[found.requirements],
            )
            named = [
                (layer_key(layer, compression=plan.compression, codec=plan.codec), packed)
                for layer, packed in zip(plan.layers, layers, strict=True)
                if not isinstance(layer, BaseLayer)
            ]
            new = dataclasses.replace(new, layers=tuple(sorted(named)))
    console.close()
    _write(new, project=found)
    _tell(old, new, console=console)
    console.note(f"wrote {found.lock_path}")


def _old(project: Project, *, check: bool, console: Console) -> Lock | None:
    """The lock file there is; a damaged one (a merge conflict, say) is renewed like a missing one."""
    try:
        return read_lock(project)
    except LockError as problem:
        if check:
            raise
        console.warn(f"{project.lock_path.name} cannot be read ({problem.brief}): making it anew")
        return None


def _check_names(given: Mapping[NormalizedName, str], *, lock: Lock) -> None:
    """Refuse `--upgrade` of what is no package of the model; `given` maps names to how the user wrote them."""
    known = [*(wheel.name for wheel in lock.wheels), *(deb.package for deb in lock.system_packages)]
    for name, written in given.items():
        if name not in known and written not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise LockError(
                f"`--upgrade={written}`: the model needs no package of that name",
                hint=f"did you mean `--upgrade={near[0]}`?"
                if near
                else "name one of its packages, as in `--upgrade=NAME`; without a name everything moves",
            )


def _write(lock: Lock, *, project: Project) -> None:
    """Replace the lock file whole, or not at all."""
    text = dumps(lock, folder=project.root)
    draft = project.lock_path.with_name(f".{project.lock_path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(project.lock_path)
    except OSError as problem:
        draft.unlink(missing_ok=True)
        raise LockError(
            f"could not write `{project.lock_path}`: {(problem.strerror or str(problem)).lower()}",
            hint="make the project's folder writable, or lock a copy of it",
        ) from problem


def _tell(old: Lock | None, new: Lock, *, console: Console) -> None:
    """Say which packages came, went and moved."""
    before, after = _versions(old) if old else {}, _versions(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            console.note(f"added {name} {after[name]}")
        elif name not in after:
            console.note(f"removed {name} {before[name]}")
        elif before[name] != after[name]:
            console.note(f"moved {name} {before[name]} to {after[name]}")


def _versions(lock: Lock) -> dict[str, str]:
    """The model's packages, both kinds; a system package that is called as one of Python's is `NAME (Debian)`."""
    found = {wheel.name: wheel.version for wheel in lock.wheels}
    for deb in lock.system_packages:
        found[f"{deb.package} (Debian)" if deb.package in found else deb.package] = deb.version
    return found
