"""`emit nix`: what the flake is made of, gathered from this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import builder
from builder import __version__
from builder.backends import nix_document, nix_seed
from builder.cli.console import Console
from builder.cli.emitting import gather, restore_wheels, write_folder
from builder.cli.options import BuildOptions
from builder.cli.project import image_name
from builder.cli.settings import Settings, debian_mirrors
from builder.emit.nix import Flake, flake
from builder.errors import ConfigError
from builder.plan import Deb, Locked, Plan, Remote, layer_key, title
from builder.resolve.debian import resolve_debian
from builder.store import Store


def write_flake(
    project: Path,
    *,
    folder: Path,
    nixpkgs: bool,
    options: BuildOptions,
    settings: Settings,
    store: Store,
    console: Console,
) -> None:
    """Write the folder for the project; `ConfigError` for one that Nix could not build."""
    found = gather(
        project, output=folder, options=options, settings=settings, store=store, console=console, nixpkgs=nixpkgs
    )
    plan = found.plan
    known, executed = _known(plan, store=store)
    if len(known) < len(plan.locked) or not plan.locked:
        console.warn("without a lock file that has the layers' digests, Nix proves no bytes: run `cogsmith lock` first")
    restore_wheels(found, settings=settings, store=store, console=console)
    own = _own(plan, store=store, console=console)
    machine = os.uname().machine
    with tempfile.TemporaryDirectory(prefix="cogsmith-") as name:
        work = Path(name)
        nix_seed.copy_codec(plan.codec, target=work / "codec")
        tools = [work / "codec"]
        if not nixpkgs:
            inputs, debs = _debs(plan, machine=machine, settings=settings, store=store, console=console)
            nix_seed.unpack(debs, inputs=inputs, machine=machine, target=work / "seed", scratch=work)
            tools.append(work / "seed")
        spec = Flake(
            name=image_name(found.project),
            version=__version__,
            document=nix_document.document(plan, known=known, nix_packages=found.project.config.nix_packages),
            executed=tuple(executed),
            system=f"{machine}-linux",
            nixpkgs=nixpkgs,
        )
        root = Path(builder.__file__).parents[1]
        files = flake(spec, plan, files=found.files, own=own, root=root, tools=tools)
        write_folder(files, folder=folder, epoch=plan.epoch)


def _known(plan: Plan, *, store: Store) -> tuple[dict[str, Locked], list[tuple[str, str]]]:
    """The digests of layers by key; titles and digests of those that come from commands."""
    known = {locked.key: locked for locked in plan.locked}
    executed = []
    for layer in plan.layers:
        if not nix_document.is_executed(layer):
            continue
        key = layer_key(layer, compression=plan.compression, codec=plan.codec)
        packed = store.layer(key)
        if key not in known and packed is None:
            raise ConfigError(
                f"the layer `{title(layer)}` comes from a command, which Nix does not run",
                hint="run `cogsmith build` once, so that its digest is known",
            )
        if key not in known and packed is not None:
            known[key] = Locked(key=key, digest=packed.digest, diff_id=packed.diff_id, size=packed.size)
        executed.append((title(layer), known[key].digest))
    return known, executed


def _own(plan: Plan, *, store: Store, console: Console) -> dict[str, Path]:
    """The inputs of layers that no server has."""
    local = [r for r in plan.remotes if not any(url.startswith(("http:", "https:")) for url in r.urls)]
    if not local:
        return {}
    from builder.fetch import ensure

    return ensure(local, store=store, report=console)


def _debs(
    plan: Plan, *, machine: str, settings: Settings, store: Store, console: Console
) -> tuple[dict[str, Path], tuple[Deb, ...]]:
    """The packages of the interpreter, and where they lie."""
    from builder.fetch import ensure
    from builder.resolve.debian import mirror_credentials, with_mirrors
    from builder.resolve.sessions import session_factory

    debs = nix_seed.plan_debs(plan, machine=machine)
    remotes: tuple[Remote, ...] = plan.remotes
    mirrors = debian_mirrors(settings)
    if not debs:
        base, _, remotes = resolve_debian(
            suite="bookworm",
            architecture=settings.host_platform.partition("/")[2],
            mirrors=mirrors,
            store=store,
            report=console,
        )
        debs = nix_seed.debs_of(base.debs, machine=machine)
    if not debs:
        raise ConfigError(f"there is no interpreter for {machine} to put into the folder", hint="emit with `--nixpkgs`")
    hashes = {deb.sha256 for deb in debs}
    wanted = with_mirrors([remote for remote in remotes if remote.sha256 in hashes], debs=debs, mirrors=mirrors)
    new_session = session_factory(settings.env, known=mirror_credentials(mirrors))
    return ensure(wanted, store=store, report=console, new_session=new_session), debs
