"""`why`: who asks for a package, which layer holds it, how large it is."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from packaging.utils import canonicalize_name

from builder.cli.build import platform_of
from builder.cli.building import open_project, with_options
from builder.cli.console import Console, say, size
from builder.cli.group import Command
from builder.cli.locking import get_lock
from builder.cli.options import BuildOptions, build_options
from builder.cli.project import Project, get_plan, scan_files
from builder.cli.settings import Settings, read
from builder.config import packages
from builder.errors import ConfigError
from builder.frozen import frozen
from builder.lock import DebianBase, Lock
from builder.plan import DebianLayer, Layer, PackagesLayer, Plan, RuntimeLayer, WheelsLayer, layer_key, title
from builder.report import Quiet
from builder.resolve import why as graph
from builder.store import Store

SHOWN = 12
"""Chains that a person is shown."""


@frozen
class Place:
    """A layer of the plan, by its number there; the digest where it is known."""

    number: int
    title: str
    digest: str = ""


@frozen
class Finding:
    """All about one package; sizes in bytes, `unpacked` where it is known."""

    name: str
    version: str
    kind: str
    layer: Place | None
    size: int
    unpacked: int | None
    chains: tuple[graph.Chain, ...]


@click.command(cls=Command, epilog="Example: cogsmith why numpy")
@click.argument("package")
@click.argument("project", default=".", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@build_options
def why(*, package: str, project: Path, as_json: bool, options: BuildOptions) -> None:
    """Say who asks for PACKAGE in the image of PROJECT, which layer holds it, and how large it is.

    Python packages and system packages.
    """
    settings = with_options(read(), options)
    console = Console(progress=options.progress)
    found = open_project(project, options=options, settings=settings, console=console)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        lock, _ = get_lock(
            found,
            settings=settings,
            store=store,
            platform=platform_of(found, given=options.platform, settings=settings, store=store),
            console=console,
            locked=options.locked,
            fresh=options.fresh,
        )
        files = scan_files(found, store=store)
        plan = get_plan(found, lock=lock, files=files, settings=settings, options=options, with_code=False)
        findings = [
            *_python(package, project=found, lock=lock, plan=plan, settings=settings, store=store, console=console),
            *_system(package, project=found, lock=lock, plan=plan, store=store),
        ]
    console.close()
    if not findings:
        raise _absent(package, lock=lock)
    if as_json:
        say(json.dumps([dataclasses.asdict(one) for one in findings], indent=2))
        return
    say("\n\n".join(_text(one, versions=_versions(lock)) for one in findings))


def _python(
    package: str, *, project: Project, lock: Lock, plan: Plan, settings: Settings, store: Store, console: Console
) -> Iterator[Finding]:
    from builder.resolve import metadata
    from builder.resolve.graph import environment
    from builder.resolve.indexes import uv_environment
    from builder.resolve.sessions import session_factory

    name = canonicalize_name(package)
    wheel = next((wheel for wheel in lock.wheels if wheel.name == name), None)
    if wheel is not None:
        session = session_factory(uv_environment(settings.env, report=Quiet()), texts=[project.requirements])
        known = metadata.read_all(lock.wheels, remotes=lock.remotes, store=store, new_session=session)
        unknown = [one.name for one in lock.wheels if one.name not in known]
        if unknown:
            console.warn(f"what these need could not be read, so chains may be missing: {', '.join(unknown)}")
        asked = _asked(project, lock=lock)
        variables = environment(python_version=lock.interpreter.version, platform=lock.platform)
        edges = graph.python_edges(known, asked=asked, variables=variables)
        yield Finding(
            name=wheel.name,
            version=wheel.version,
            kind="python",
            layer=_place(plan, wheel.sha256, store=store),
            size=wheel.size,
            unpacked=metadata.unpacked_size(wheel, store=store),
            chains=graph.chains(wheel.name, asked={root.name for root in asked}, edges=edges),
        )
    for own in lock.runtime_wheels:
        if own.name == name:
            yield Finding(
                name=own.name,
                version=own.version,
                kind="server",
                layer=_place(plan, own.sha256, store=store),
                size=own.size,
                unpacked=metadata.unpacked_size(own, store=store),
                chains=(),
            )


def _asked(project: Project, *, lock: Lock) -> Sequence[graph.Root]:
    """What the project itself requires, however it states that."""
    if project.config.python_project:
        from builder.resolve import foreign, pyproject

        files = pyproject.loads(project.requirements)
        listed = pyproject.table(files).get("project", {}).get("dependencies")
        if files.lock_name and listed is None:  # Poetry's own, say
            found = foreign.read(files, folder=project.root / files.folder).roots
            return [graph.Root(name=one.name, extras=one.extras) for one in found]
        return graph.roots(listed or ())
    from builder.resolve import requirements

    named = project.config.python_requirements
    folder = (project.root / named).parent if named else project.root
    text = requirements.read(project.requirements, project=project.root, folder=folder, report=Quiet())
    return (*graph.roots(text.lines), *graph.source_roots(text.sources, lock=lock, project=project.root))


def _system(package: str, *, project: Project, lock: Lock, plan: Plan, store: Store) -> Iterator[Finding]:
    asked = {wanted.name for wanted in packages.read(project.config.system_packages).packages}
    base = lock.base.debs if isinstance(lock.base, DebianBase) else ()
    for debs, kind in ((lock.system_packages, "system"), (base, "base")):
        one = next((deb for deb in debs if deb.package == package), None)
        if one is not None:
            edges = graph.deb_edges(debs, store=store)
            yield Finding(
                name=one.package,
                version=one.version,
                kind=kind,
                layer=_place(plan, one.sha256, store=store),
                size=one.size,
                unpacked=graph.deb_size(one, store=store),
                chains=graph.chains(one.package, asked=asked if kind == "system" else (), edges=edges),
            )


def _place(plan: Plan, sha256: str, *, store: Store) -> Place | None:
    for number, layer in enumerate(plan.layers, start=1):
        if sha256 in _hashes(layer):
            key = layer_key(layer, compression=plan.compression, codec=plan.codec)
            packed = store.layer(key)
            locked = next((one.digest for one in plan.locked if one.key == key), "")
            return Place(number=number, title=title(layer), digest=packed.digest if packed else locked)
    return None


def _hashes(layer: Layer) -> set[str]:
    match layer:
        case WheelsLayer() | RuntimeLayer():
            return {wheel.sha256 for wheel in layer.wheels}
        case DebianLayer() | PackagesLayer():
            return {deb.sha256 for deb in layer.debs}
        case _:
            return set()


def _versions(lock: Lock) -> dict[str, str]:
    base = lock.base.debs if isinstance(lock.base, DebianBase) else ()
    debs = {deb.package: deb.version for deb in (*base, *lock.system_packages)}
    return debs | {wheel.name: wheel.version for wheel in lock.wheels}


WHO = {
    "python": "what the project requires",
    "server": "the prediction server, apart from the model's packages",
    "system": "`build.system_packages`",
    "base": "the Debian base",
}


def _text(one: Finding, *, versions: dict[str, str]) -> str:
    lines = [f"{one.name} {one.version}"]
    if one.layer:
        digest = f", {one.layer.digest[7:19]}" if one.layer.digest else ""
        lines.append(f"  layer {one.layer.number}: {one.layer.title}{digest}")
    packed = "package" if one.kind in ("system", "base") else "wheel"
    more = f", {size(one.unpacked)} unpacked" if one.unpacked is not None else ""
    lines.append(f"  size: {size(one.size)} as a {packed}{more}")
    lines.append(f"  part of {WHO[one.kind]}" + (":" if one.chains else ""))
    for chain in one.chains[:SHOWN]:
        if len(chain) == 1:
            lines.append(f"    {one.name} is asked for")
        else:
            lines.append("    " + " → ".join(f"{name} {versions.get(name, '')}".strip() for name in chain))
    if len(one.chains) > SHOWN:
        lines.append(f"    and {len(one.chains) - SHOWN} more (`--json` has all)")
    return "\n".join(lines)


def _absent(package: str, *, lock: Lock) -> ConfigError:
    known = sorted({*_versions(lock), *(wheel.name for wheel in lock.runtime_wheels)})
    near = difflib.get_close_matches(package, known, n=1) or difflib.get_close_matches(
        canonicalize_name(package), known, n=1
    )
    inside = "" if isinstance(lock.base, DebianBase) else "; what the base image itself holds is not listed"
    return ConfigError(
        f"the image has no package `{package}`",
        hint=f"did you mean `{near[0]}`?" if near else f"`cogsmith plan` lists the layers{inside}",
    )
