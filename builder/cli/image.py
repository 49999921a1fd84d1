"""`image ls|inspect|rm|export|import`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import click

from builder.cli.base import base_layers
from builder.cli.completion import ImageName
from builder.cli.console import Console, say, size, table
from builder.cli.group import Group
from builder.cli.project import check_name
from builder.cli.settings import read
from builder.errors import StoreError
from builder.layout import FORMS, Form, export_image, import_image
from builder.store import Store, StoredImage

NO_DAEMON = "docker's daemon must run, and let you in; podman, which needs none, takes images by `--to podman`"
SHOWN = 10
"""Names in an error's hint."""


@click.group(cls=Group, epilog="Example: cogsmith image inspect my-model")
def image() -> None:
    """List, inspect, remove, export and import the images of the local store."""


def get(store: Store, reference: str) -> StoredImage:
    """The image, or an error that lists what there is."""
    found = store.image(reference, platform=read().host_platform)
    if found is None:
        raise _absent(store, reference)
    return found


def _absent(store: Store, reference: str) -> StoreError:
    names = list(dict.fromkeys(image.name for image in store.images()))
    more = f" and {len(names) - SHOWN} more (`cogsmith image ls`)" if len(names) > SHOWN else ""
    return StoreError(
        f"there is no image `{reference}` in {store.root}",
        hint=f"there are: {', '.join(f'`{name}`' for name in names[:SHOWN])}{more}"
        if names
        else "build one: `cogsmith build -t NAME`",
    )


@image.command("ls", epilog="Example: cogsmith image ls --json | jq -r '.[].name'")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List the images."""
    images = Store.open(read().store_root).images()
    if as_json:
        say(
            json.dumps(
                [{"name": one.name, "digest": one.digest, "size": one.size, "platform": one.platform} for one in images]
            )
        )
        return
    rows = [("NAME", "DIGEST", "PLATFORM", "LAYERS", "SIZE")]
    rows += [(one.name, one.digest[7:19], one.platform, str(len(one.layers)), size(one.size)) for one in images]
    say(table(rows, right=frozenset({3, 4})))


@image.command(epilog="Example: cogsmith image inspect --json my-model | jq .config.config.Env")
@click.argument("reference", metavar="IMAGE", type=ImageName())
@click.option("--json", "as_json", is_flag=True, help="Print digest, manifest and configuration as JSON.")
def inspect(*, reference: str, as_json: bool) -> None:
    """Show an image's digest, settings and layers."""
    store = Store.open(read().store_root)
    found = get(store, reference)
    if as_json:
        say(
            json.dumps(
                {
                    "name": found.name,
                    "digest": found.digest,
                    "size": found.size,
                    "manifest": found.manifest,
                    "config": found.config,
                },
                indent=2,
            )
        )
        return
    config: dict[str, Any] = found.config.get("config", {})
    say(f"Name:        {found.name}")
    say(f"Digest:      {found.digest}")
    say(f"Platform:    {found.config.get('os')}/{found.config.get('architecture')}")
    say(f"Command:     {' '.join([*(config.get('Entrypoint') or ()), *(config.get('Cmd') or ())])}")
    say(f"Size:        {size(found.size)}")
    rows = [("#", "LAYER", "SIZE", "DIGEST")]
    titles = [
        str(line.get("created_by", "")) for line in found.config.get("history", ()) if not line.get("empty_layer")
    ]
    for number, layer in enumerate(found.layers):
        held = titles[number] if number < len(titles) else ""
        rows.append((str(number + 1), held, size(layer.size), layer.digest[7:19]))
    say(table(rows, right=frozenset({0, 2})))


@image.command(epilog="Example: cogsmith image rm my-model:old 3f9d0c21 && cogsmith cache prune")
@click.argument("references", metavar="IMAGE...", type=ImageName(), nargs=-1, required=True)
def rm(*, references: tuple[str, ...]) -> None:
    """Forget images by name or digest.  `cogsmith cache prune` frees their layers."""
    store = Store.open(read().store_root)
    missing = [reference for reference in references if not store.remove_image(reference)]
    for reference in references:
        if reference not in missing:
            say(reference)
    if missing:
        raise _absent(store, missing[0])


@image.command(
    short_help="Write an image to a folder or an archive, or hand it to podman or docker.",
    epilog="Example: cogsmith image export my-model --to podman && podman run --rm -p 5000:5000 my-model",
)
@click.argument("reference", metavar="IMAGE", type=ImageName())
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--form", type=click.Choice(FORMS), help="What to write (default: a folder, or oci-archive for *.tar).")
@click.option("--to", "program", type=click.Choice(["podman", "docker"]), help="Hand it to this program instead.")
def export(
    *, reference: str, path: Path | None, form: Form | None, program: Literal["podman", "docker"] | None
) -> None:
    """Write an image as an OCI folder, an OCI archive or a Docker archive; or hand it to podman or docker."""
    if program is not None and path is None and form is None:
        _hand_over(reference, program=program)
        return
    if path is None or program is not None:
        raise click.UsageError("name a path to write to, or a program with `--to`: one of the two")
    settings = read()
    console = Console()
    store = Store.open(settings.store_root)
    chosen: Form = form or ("oci-archive" if path.suffix == ".tar" else "oci-dir")
    with store.using(report=console):
        found = get(store, reference)
        fetch = base_layers(found, store=store, settings=settings, report=console)
        try:
            export_image(store, image=found, path=path, form=chosen, report=console, fetch_layer=fetch)
        except StoreError as problem:
            problem.hint = problem.hint or "name a path that can be written, in a folder that exists"
            raise
    console.close()
    console.note(f"Exported {found.name} to {path}")


def _hand_over(reference: str, *, program: Literal["podman", "docker"]) -> None:
    from builder import process
    from builder.engine import containers_storage

    settings = read()
    console = Console()
    store = Store.open(settings.store_root)
    with store.using(report=console):
        found = get(store, reference)
        fetch = base_layers(found, store=store, settings=settings, report=console)
        if program == "podman":
            name = containers_storage.deliver(found, store=store, program=program, report=console, fetch=fetch)
        else:
            name = found.name
            hint = f"{containers_storage.INSTALL['docker']}: `--to podman`"
            tool = process.find("docker", purpose="hand it the image", hint=hint)
            with store.scratch() as work:
                archive = work / "image.tar"
                export_image(store, image=found, path=archive, form="docker-archive", report=console, fetch_layer=fetch)
                words: list[str | Path] = [tool, "load", "--quiet", "--input", archive]
                process.run(words, purpose="hand the image to docker", hint=NO_DAEMON)
    console.close()
    console.note(f"{program} has it as {name}")


@image.command(
    "import",
    short_help="Read an image from a folder or an archive.",
    epilog="Example: cogsmith image import model.tar -t my-model",
)
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("-t", "--tag", metavar="NAME[:TAG]", help="Name in the store (default: the one it has).")
@click.option("--platform", metavar="OS/ARCH", help="Which image of an index (default: this machine's).")
def import_(*, path: Path, tag: str | None, platform: str | None) -> None:
    """Read an OCI folder, an OCI archive or a Docker archive into the store, and print the manifest digest."""
    settings = read()
    console = Console(sys.stderr)
    store = Store.open(settings.store_root)
    name = check_name(tag) if tag else None
    try:
        with store.using(report=console):
            found = import_image(
                store, path=path, name=name, platform=platform or settings.host_platform, report=console
            )
    except StoreError as problem:
        problem.hint = problem.hint or "an OCI folder, an OCI archive or a Docker archive can be read: make it again"
        raise
    console.close()
    console.note(f"Imported {found.name}")
    say(found.digest)
