"""A project to its image, all the way."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder import __version__
from builder.cli import locking, unchanged
from builder.cli.console import Console
from builder.cli.options import BuildOptions
from builder.cli.project import (
    Files,
    Project,
    check_name,
    find,
    get_plan,
    image_name,
    make_layers,
    scan_files,
    schema_text,
)
from builder.cli.settings import Settings
from builder.errors import ConfigError
from builder.plan import BaseLayer, Deb, PackagesLayer, Plan, Remote, RunLayer
from builder.store import Store, StoredImage

if TYPE_CHECKING:
    from builder.backends import Execution
    from builder.cli.elsewhere import Elsewhere
    from builder.registry.cache import CacheRepository

BAGGAGE = (".git", ".venv", "venv", "__pycache__")
"""Folders at the top of a project that are rarely meant to be shipped."""


def open_project(start: Path, *, options: BuildOptions, settings: Settings, console: Console) -> Project:
    """The project of `start`, its warnings said, on the base that the options ask for."""
    project = find(start, file=options.file)
    for warning in project.config.warnings:
        console.warn(warning)
    for line in options.idle:
        console.note(line)
    if options.secrets:
        from builder.cli import secrets

        for text in options.secrets:
            secrets.parse(text, folder=project.root)
    if options.cuda_base is not None:
        if not project.config.gpu:
            console.note("an image with CUDA is for `build.gpu: true` only: the base stays")
        elif project.config.base_image:
            console.note("`build.base_image` names the base: it stays")
        else:
            changed = dataclasses.replace(project.config, cuda_base=options.cuda_base)
            project = dataclasses.replace(project, config=changed)
    if options.cog_base and not project.config.base_image:
        reference = cog_base(project, registry=settings.registry)
        console.note(f"building on {reference}")
        return dataclasses.replace(project, config=dataclasses.replace(project.config, base_image=reference))
    return project


def cog_base(project: Project, *, registry: str) -> str:
    """Cog's own base for the project, by the rule of its tags: `[cudaX.Y-]pythonX.Y[-torchX.Y.Z]`."""
    config = project.config
    if config.python_minor is None:
        raise ConfigError(
            f"`--use-cog-base-image` goes by the Python, and `{project.file}` names none",
            hint='name it in `build.python_version`, as in `python_version: "3.13"`',
        )
    torch = re.search(r"(?m)^torch==(\d+\.\d+\.\d+)", project.requirements)
    cuda = config.cuda
    if config.gpu and not cuda:
        from builder import cuda_matrix

        cuda = cuda_matrix.cog_cuda(torch[1] if torch else None)
    parts = [f"cuda{cuda}"] if config.gpu else []
    parts.append(f"python{config.python_minor}")
    if torch:
        parts.append(f"torch{torch[1]}")
    return f"{registry}/cog-base:{'-'.join(parts)}"


def build_project(
    project: Project,
    *,
    settings: Settings,
    store: Store,
    console: Console,
    options: BuildOptions | None = None,
    tag: str | None = None,
    platform: str | None = None,
    elsewhere: Elsewhere | None = None,
) -> StoredImage:
    """Config to image, all the way; or the image that was built from the very same before.

    `platform` is the one to build for, whatever `options` says of it.  Layers that are `elsewhere` are not made.
    """
    from builder.backends import assemble

    options = options or BuildOptions()
    settings = with_options(settings, options)
    wanted = platform or locking.preferred_platform(project, settings=settings)
    check_backend(settings.backend)
    refuse_nixpkgs(project)
    name = check_name(tag or image_name(project))
    schema = schema_text(options)
    files = scan_files(project, store=store)
    _warn_of_baggage(files, console=console)

    def fingerprint(lock_text: str) -> str:
        return unchanged.fingerprint(
            config=project.config,
            project_hash=project.hash,
            lock_text=lock_text,
            source=files.source,
            runtime=files.runtime,
            settings=settings,
            platform=wanted,
            compression=options.compression,
            version=__version__,
            schema=schema,
            network=options.network,
            bytecode=options.bytecode,
        )

    # A build that keeps its layers in a cache is another thing than one that does not.
    kept = f" kept in {settings.cache_repo}" if settings.cache_repo else ""
    if settings.backend == "nix":  # whose image is a store path as well
        kept += f" in Nix's store {settings.backend_settings.get('nix_store', '')}"

    def recall(lock_text: str) -> StoredImage | None:
        key = fingerprint(lock_text) + kept
        found = unchanged.recall(key, name=name, store=store)
        if found is None and elsewhere is not None:
            found = unchanged.recall(f"{key} {elsewhere.name}", name=name, store=store)
        return found

    text = (
        None
        if options.fresh
        else locking.known_text(project, settings=settings, store=store, platform=wanted, locked=options.locked)
    )
    if text is not None and (image := recall(text)) is not None:
        return image
    lock, text = locking.get_lock(
        project,
        settings=settings,
        store=store,
        platform=wanted,
        console=console,
        locked=options.locked,
        fresh=options.fresh,
    )
    plan = get_plan(project, lock=lock, files=files, settings=settings, options=options)
    there = None if elsewhere is None else frozenset(elsewhere.layers_of(plan, store=store))
    cache = _cache(settings, store=store, console=console)
    if cache is not None:
        from builder.cli import caching

        plan, there = caching.take(plan, cache=cache, store=store, fresh=options.fresh, elsewhere=there)
    if lock.built:
        from builder.cli import wheelhouse

        wheelhouse.restore(
            lock,
            config=project.config,
            plan=plan,
            project=project.root,
            texts=[project.requirements],
            settings=settings,
            store=store,
            console=console,
            elsewhere=there or frozenset(),
            fresh=options.fresh,
        )
    layers = make_layers(
        plan,
        local=files.local,
        backend_name=settings.backend,
        settings=settings,
        store=store,
        console=console,
        texts=[project.requirements],
        elsewhere=there or frozenset(),
        execution=_execution(project, plan=plan, options=options, settings=settings, store=store, console=console),
    )
    if cache is not None:
        caching.keep(plan, layers, cache=cache, store=store)
    image = assemble.image(plan, layers=layers, store=store, name=name)
    # Under the text that was built from, never under that of a stale file: `--locked` must refuse it next time as well.
    made = [packed for layer, packed in zip(plan.layers, layers, strict=True) if not isinstance(layer, BaseLayer)]
    here = [packed for packed in made if store.has_blob(packed.digest)]
    if elsewhere is not None and len(here) < len(made):  # it counts for who pushes there, and not for a build
        keys = {f"{fingerprint(text)}{kept} {elsewhere.name}"}
    else:
        keys = {fingerprint(text), fingerprint(text) + kept}
    for key in keys:
        unchanged.remember(key, image=image, made=here, store=store)
    return image


def _cache(settings: Settings, *, store: Store, console: Console) -> CacheRepository | None:
    if not settings.cache_repo:
        return None
    from builder.cli.caching import cache_of

    return cache_of(settings, store=store, report=console)


def _execution(
    project: Project, *, plan: Plan, options: BuildOptions, settings: Settings, store: Store, console: Console
) -> Execution | None:
    """What commands need, if the plan has any; of the secrets, those that it names.  And what Nix needs."""
    if settings.backend != "nix" and not any(isinstance(layer, RunLayer | PackagesLayer) for layer in plan.layers):
        return None
    commands = [layer for layer in plan.layers if isinstance(layer, RunLayer)]
    from builder.backends import Execution
    from builder.cli import secrets
    from builder.cli.base import layers_of

    wanted = {secret.id for layer in commands for secret in layer.secrets}
    given = [secrets.parse(text, folder=project.root) for text in options.secrets]
    annotations = dict(plan.config.annotations)
    return Execution(
        secrets=secrets.read([secret for secret in given if secret.id in wanted], env=settings.env),
        base=layers_of(annotations, name=image_name(project), store=store, settings=settings, report=console),
        fresh=options.fresh,
        debug_shell=options.debug_shell,
        settings=settings.backend_settings,
        debian=lambda: _debian(settings, store=store, console=console),
    )


def _debian(settings: Settings, *, store: Store, console: Console) -> tuple[Sequence[Deb], Sequence[Remote]]:
    """The packages of a Debian base for this machine."""
    from builder.cli.settings import debian_mirrors
    from builder.resolve.debian import resolve_debian

    architecture = settings.host_platform.partition("/")[2]
    mirrors = debian_mirrors(settings)
    base, _, remotes = resolve_debian(
        suite="bookworm", architecture=architecture, mirrors=mirrors, store=store, report=console
    )
    return base.debs, remotes


def with_options(settings: Settings, options: BuildOptions) -> Settings:
    """The settings as the options of one command change them."""
    return dataclasses.replace(
        settings,
        epoch=settings.epoch if options.epoch is None else options.epoch,
        backend=options.backend or settings.backend,
        backend_settings={**settings.backend_settings, **_of_backends(options)},
        cache_repo=settings.cache_repo if options.cache_repo is None else options.cache_repo,
    )


def _of_backends(options: BuildOptions) -> dict[str, str]:
    """The options that only one backend knows, by the names of `backends.Execution.settings`."""
    names = ("isolation", "nix_cache", "nix_sandbox", "nix_store")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def deliver(image: StoredImage, *, settings: Settings, store: Store, console: Console) -> None:
    """Have the backend put a finished image where its own tools find it."""
    from builder.backends import DEFAULT, backend
    from builder.cli.base import base_layers

    if settings.backend != DEFAULT:
        fetch = base_layers(image, store=store, settings=settings, report=console)
        backend(settings.backend).deliver(image, store=store, report=console, fetch=fetch)


def refuse_nixpkgs(project: Project) -> None:
    """`ConfigError` for a project with packages of nixpkgs: which one that is, only the user's flake knows."""
    if project.config.nix_packages:
        raise ConfigError(
            "`build.nix_packages` names packages of nixpkgs, and there is none here",
            hint="`cogsmith emit nix --nixpkgs -o DIR` writes a flake that has one: build it by `nix build path:DIR`",
        )


def check_backend(name: str) -> None:
    """`BackendError` if there is no such backend, also where nothing would be left for it to do."""
    from builder.backends import BACKENDS, unknown

    if name not in BACKENDS:
        raise unknown(name)


def _warn_of_baggage(files: Files, *, console: Console) -> None:
    """Say what is in the image, as with Cog, although hardly anybody wants it there: it differs from clone to clone."""
    for name in BAGGAGE:
        count = sum(entry.path.split("/")[0] == name for entry in files.source)
        if count:
            console.warn(f"`{name}` becomes part of the image ({count} files): name it in `.dockerignore`")
