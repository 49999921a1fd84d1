"""`push`: builds the project and sends its image to a registry, or sends an image of the local store."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.cli import remote
from builder.cli.base import base_layers
from builder.cli.building import build_project, open_project, with_options
from builder.cli.console import Console, say
from builder.cli.elsewhere import Elsewhere
from builder.cli.group import Command
from builder.cli.options import BuildOptions, build_options
from builder.cli.pushing import PushProgress
from builder.cli.remote import Target
from builder.cli.settings import Settings, read
from builder.errors import RegistryError
from builder.reference import Reference, parse
from builder.store import Store, StoredImage

if TYPE_CHECKING:
    from builder.registry.push import Pushed


@click.command(cls=Command, epilog="Example: cogsmith push r8.im/your-username/your-model")
@click.argument("image", required=False)
@click.option("--image", "stored", metavar="NAME", help="Push this image of the local store; nothing is built.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON, one a line.")
@click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")
@build_options
def push(*, image: str | None, stored: str | None, as_json: bool, quiet: bool, options: BuildOptions) -> None:
    """Build the project of the current folder and push its image to IMAGE, or to `image` of cog.yaml.

    Layers that the registry has are neither downloaded nor built nor sent.  Prints the digest of what was pushed.
    """
    settings = with_options(read(), options)
    console = Console(quiet=quiet or as_json, progress=options.progress)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        if stored is not None:
            from builder.cli.image import get

            images = store.images(stored) or [get(store, stored)]
            target = Target(reference=remote.target_of(image or images[0].name))
        else:
            images, target = _built(image, options=options, settings=settings, store=store, console=console)
        found = images[0]
        console.note(f"Pushing to {target.reference}...")
        if len(images) > 1:
            _push_several(images, to=target.reference, settings=settings, store=store, console=console, as_json=as_json)
            return
        if target.bundle:
            _push_bundle(found, target=target, settings=settings, store=store, console=console, as_json=as_json)
            return
        pushed = _push(found, target.reference, settings=settings, store=store, console=console, as_json=as_json)
    console.note(f"  image  {pushed.reference.name}@{pushed.descriptor.digest}")
    page = remote.home_of_model(pushed.reference, settings=settings)
    if page:
        console.note(f"\nRun your model on Replicate:\n    {page}")
    if not as_json:
        say(pushed.descriptor.digest)


def _built(
    given: str | None,
    *,
    options: BuildOptions,
    settings: Settings,
    store: Store,
    console: Console,
) -> tuple[list[StoredImage], Target]:
    """The project's images, one for each platform, and where they go."""
    project = open_project(Path.cwd(), options=options, settings=settings, console=console)
    target = remote.push_target(project.config, given=given, settings=settings, now=dt.datetime.now(dt.UTC))
    name = target.reference.tagged if not target.bundle else f"{target.reference.name}:latest"
    console.note(f"Building {name} from {project.path}")
    repositories = [target.reference, *([parse(settings.cache_repo)] if settings.cache_repo else [])]
    elsewhere = Elsewhere(repositories=tuple(repositories), settings=settings, entered=True)
    from builder.cli.build import platforms_of

    images = []
    for platform in platforms_of(project, options=options, settings=settings, store=store):
        image = build_project(
            project,
            settings=settings,
            store=store,
            console=console,
            options=options,
            tag=name,
            platform=platform,
            elsewhere=elsewhere,
        )
        if not elsewhere.still_has(image, store=store):
            console.note("the registry no longer has all layers: building what it lost")
            image = build_project(
                project, settings=settings, store=store, console=console, options=options, tag=name, platform=platform
            )
        images.append(image)
    if len(images) > 1:
        from builder.backends import assemble

        assemble.index(images, store=store, name=name)
    console.note(f"Image built as {images[0].name}")
    return images, target


def _push_several(
    images: list[StoredImage],
    *,
    to: Reference,
    settings: Settings,
    store: Store,
    console: Console,
    as_json: bool,
) -> None:
    """Images for several platforms, each by its digest, and an index of them under the tag."""
    from builder.registry.push import push_index

    for image in images:
        part = dataclasses.replace(to, tag="", digest=image.digest)
        _push(image, part, settings=settings, store=store, console=console, as_json=as_json)
        console.note(f"  image  {to.name}@{image.digest} for {image.platform}")
    index = push_index(images, to=to, access=remote.access(settings))
    console.note(f"  index  {to.name}@{index.digest}")
    if as_json:
        say(json.dumps({"event": "index", "name": str(to), "digest": index.digest}))
    else:
        say(index.digest)


def _push(
    image: StoredImage, to: Reference, *, settings: Settings, store: Store, console: Console, as_json: bool
) -> Pushed:
    """Push with progress; an error of Replicate's registry in Replicate's words."""
    from builder.registry.push import push_image

    sizes = {layer.digest: layer.size for layer in image.layers}
    progress = PushProgress(console, sizes=sizes, as_json=as_json)
    bring = base_layers(image, store=store, settings=settings, report=progress)
    try:
        pushed = push_image(
            image,
            to=to,
            store=store,
            access=remote.access(settings),
            report=progress,
            manner=dataclasses.replace(remote.manner(settings), bring=bring),
            tell=progress.moved,
        )
    except RegistryError as problem:
        progress.close()
        raise _explained(problem, to=to, settings=settings) from problem
    except BaseException:
        progress.close()
        raise
    if not pushed.blobs:
        console.note("the registry has all of it already")
    progress.close({"name": str(pushed.reference), "digest": pushed.descriptor.digest})
    return pushed


def _explained(problem: RegistryError, *, to: Reference, settings: Settings) -> RegistryError:
    """Replicate's registry answers 404 where nobody has made the model yet."""
    missing = "it has none" in problem.brief or "NAME_UNKNOWN" in (problem.details or "")
    if not (remote.is_replicate(to, settings=settings) and missing):
        return problem
    return RegistryError(
        f"Unable to find existing Replicate model for {to.name}. "
        "Go to replicate.com and create a new model before pushing.",
        details=str(problem),
        hint="if the model already exists, you may be getting this error because you are not logged in as its owner:"
        " `cogsmith login`",
    )


def _push_bundle(
    image: StoredImage, *, target: Target, settings: Settings, store: Store, console: Console, as_json: bool
) -> None:
    """The image under a tag of Cog's own, and an index of it under the model's."""
    from builder.registry.push import push_index

    reference = target.reference
    beside = dataclasses.replace(reference, tag=f"{remote.RESERVED}image.{reference.tag}")
    pushed = _push(image, beside, settings=settings, store=store, console=console, as_json=as_json)
    index = push_index([image], to=reference, access=remote.access(settings))
    name = pushed.reference.name
    console.note(f"  model  {name}:{reference.tag}@{index.digest}")
    console.note(f"  `- image  {name}@{image.digest}")
    page = remote.home_of_model(pushed.reference, settings=settings)
    if page:
        console.note(f"\nRun your model on Replicate:\n    {page}")
    if as_json:
        say(json.dumps({"event": "model", "name": f"{name}:{reference.tag}", "digest": index.digest}))
    else:
        say(index.digest)
