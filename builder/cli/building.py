"""A project to its image, all the way."""

from __future__ import annotations

from builder import __version__
from builder.cli import locking, unchanged
from builder.cli.console import Console
from builder.cli.project import Files, Project, check_name, get_plan, image_name, make_layers, scan_files
from builder.cli.settings import Settings
from builder.plan import BaseLayer, Compression
from builder.store import Store, StoredImage

BAGGAGE = (".git", ".venv", "venv", "__pycache__")
"""Folders at the top of a project that are rarely meant to be shipped."""


def build_project(
    project: Project,
    *,
    settings: Settings,
    store: Store,
    console: Console,
    tag: str | None = None,
    platform: str | None = None,
    compression: Compression = "gzip",
    backend_name: str | None = None,
    locked: bool = False,
    fresh: bool = False,
) -> StoredImage:
    """Config to image, all the way; or the image that was built from the very same before."""
    from builder.backends import assemble

    wanted = platform or settings.platform
    check_backend(backend_name or settings.backend)
    name = check_name(tag or image_name(project))
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
            compression=compression,
            version=__version__,
        )

    text = (
        None if fresh else locking.known_text(project, settings=settings, store=store, platform=wanted, locked=locked)
    )
    if text is not None and (image := unchanged.recall(fingerprint(text), name=name, store=store)) is not None:
        return image
    lock, text = locking.get_lock(
        project, settings=settings, store=store, platform=wanted, console=console, locked=locked, fresh=fresh
    )
    plan = get_plan(project, lock=lock, files=files, settings=settings, compression=compression)
    layers = make_layers(
        plan,
        local=files.local,
        backend_name=backend_name or settings.backend,
        settings=settings,
        store=store,
        console=console,
    )
    image = assemble.image(plan, layers=layers, store=store, name=name)
    # Under the text that was built from, never under that of a stale file: `--locked` must refuse it next time as well.
    made = [packed for layer, packed in zip(plan.layers, layers, strict=True) if not isinstance(layer, BaseLayer)]
    unchanged.remember(fingerprint(text), image=image, made=made, store=store)
    return image


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
