"""What compiles bytecode on this machine for an image of another architecture: the same Python, for this one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from builder.errors import CogsmithError
from builder.lock import DebianBase, ImageBase
from builder.plan import Compiler, Interpreter, PythonArchive, Remote

if TYPE_CHECKING:
    from builder.resolve.project import World

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def resolve_compilers(
    base: DebianBase | ImageBase,
    *,
    interpreter: Interpreter,
    python: PythonArchive | None,
    platform: str,
    world: World,
) -> tuple[tuple[Compiler, ...], tuple[Remote, ...]]:
    """Interpreters besides the image's own, and where their files are; none where that one runs here itself.

    An image on a foreign base has no bytecode layers: its Python is in layers that need not be downloaded to build on
    them, and no other is known to be the very same.
    """
    own = platform.split("/")[1]
    system = os.uname()
    here = _MACHINES.get(system.machine, "") if system.sysname == "Linux" else ""
    if isinstance(base, ImageBase) and python is None:
        world.report.note("no bytecode layers: the Python of a base image is not taken apart to compile them")
        return (), ()
    if here in ("", own):
        return (), ()
    try:
        found = _archive(interpreter, here=here, world=world) if python else _debian(base, here=here, world=world)
    except CogsmithError as problem:
        found = None
        world.report.warn(f"Python {interpreter.version} for {here} cannot be had: {problem.brief}")
    if found is None or found[2] != interpreter.version:
        world.report.warn(
            f"bytecode for linux/{own} cannot be compiled on this machine: build with --no-bytecode, or on linux/{own}"
        )
        return (), ()
    return (found[0],), found[1]


def _archive(interpreter: Interpreter, *, here: str, world: World) -> tuple[Compiler, tuple[Remote, ...], str]:
    from builder.resolve.interpreter import resolve_interpreter

    found, archive, remote = resolve_interpreter(
        interpreter.version, platform=f"linux/{here}", store=world.store, env=world.env, report=world.report
    )
    return Compiler(architecture=here, archive=archive), (remote,), found.version


def _debian(
    base: DebianBase | ImageBase, *, here: str, world: World
) -> tuple[Compiler, tuple[Remote, ...], str] | None:
    if not isinstance(base, DebianBase):
        return None
    from builder.bytecode import compiling_debs
    from builder.resolve.debian import resolve_debian

    other, interpreter, remotes = resolve_debian(
        suite=base.suite,
        architecture=here,
        mirrors=world.mirrors,
        store=world.store,
        report=world.report,
        now=world.now,
    )
    debs = compiling_debs(other, minor=interpreter.minor)
    wanted = {deb.sha256 for deb in debs}
    places = tuple(remote for remote in remotes if remote.sha256 in wanted)
    return Compiler(architecture=here, debs=debs), places, interpreter.version
