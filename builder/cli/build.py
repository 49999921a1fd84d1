"""`build` and `plan`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from builder.cli import locking
from builder.cli.building import build_project
from builder.cli.console import Console, say, size, table
from builder.cli.locking import get_lock
from builder.cli.project import Project, find, get_plan, image_name, scan_files
from builder.cli.settings import Settings, read
from builder.config import FILE_NAME
from builder.plan import BaseLayer, Compression, Layer, Plan, layer_key, title
from builder.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def project_options(function: F) -> F:
    """The options of every command that reads a project."""
    for option in (
        click.option("--backend", "backend_name", metavar="NAME", help="Who makes the layers (default: embedded)."),
        click.option("--no-cache", "fresh", is_flag=True, help="Resolve afresh where there is no lock file."),
        click.option("--locked", is_flag=True, help="Refuse to build without a lock file that is up to date."),
        click.option(
            "--platform", metavar="OS/ARCH", help="linux/amd64 or linux/arm64 (default: the lock's, else linux/amd64)."
        ),
        click.option("-f", "--file", default=FILE_NAME, show_default=True, help="Name of the configuration file."),
    ):
        function = option(function)
    return function


@click.command(epilog="Example: cogsmith build -t my-model examples/hello-world")
@click.argument("project", default=".", type=click.Path(path_type=Path))
@click.option("-t", "--tag", metavar="NAME[:TAG]", help="Name of the image (default: `image` of cog.yaml).")
@project_options
@click.option(
    "--layer-format",
    "compression",
    type=click.Choice(["gzip", "plain", "zstd"]),
    default="gzip",
    show_default=True,
    help="How layers are stored.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the image's name and digest as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")
def build(
    *,
    project: Path,
    tag: str | None,
    backend_name: str | None,
    fresh: bool,
    locked: bool,
    platform: str | None,
    file: str,
    compression: Compression,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build the image of PROJECT (default: the current folder) and print its manifest digest."""
    settings = read()
    console = Console(quiet=quiet)
    found = find(project, file=file)
    for warning in found.config.warnings:
        console.warn(warning)
    name = tag or image_name(found)
    console.note(f"Building {name} from {found.root / file}")
    store = Store.open(settings.store_root)
    with store.using(report=console):
        image = build_project(
            found,
            settings=settings,
            store=store,
            console=console,
            tag=name,
            platform=check_platform(platform)
            if platform
            else locking.default_platform(found, settings=settings, store=store),
            compression=compression,
            backend_name=backend_name,
            locked=locked,
            fresh=fresh,
        )
    console.close()
    console.note(f"Image built as {image.name}")
    if as_json:
        say(json.dumps({"name": image.name, "digest": image.descriptor.digest}))
    else:
        say(image.descriptor.digest)


@click.command(epilog="Example: cogsmith plan --json examples/hello-world | jq '.layers[].reason'")
@click.argument("project", default=".", type=click.Path(path_type=Path))
@project_options
@click.option(
    "--layer-format",
    "compression",
    type=click.Choice(["gzip", "plain", "zstd"]),
    default="gzip",
    show_default=True,
    help="How layers are stored.",
)
@click.option("--json", "as_json", is_flag=True, help="Print exactly what a backend receives.")
def plan(
    *,
    project: Path,
    backend_name: str | None,  # noqa: ARG001  the same plan for every backend
    fresh: bool,
    locked: bool,
    platform: str | None,
    file: str,
    compression: Compression,
    as_json: bool,
) -> None:
    """Show the layers of PROJECT's image in order: what each holds, its size, whether it is here, why it is there."""
    settings = read()
    console = Console()
    found = find(project, file=file)
    for warning in found.config.warnings:
        console.warn(warning)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        lock, _ = get_lock(
            found,
            settings=settings,
            store=store,
            platform=check_platform(platform)
            if platform
            else locking.default_platform(found, settings=settings, store=store),
            console=console,
            locked=locked,
            fresh=fresh,
        )
        files = scan_files(found, store=store)
        made = get_plan(found, lock=lock, files=files, settings=settings, compression=compression)
    console.close()
    if as_json:
        say(json.dumps({"id": made.id, **made.to_json()}, indent=2))
        return
    rows = [("#", "LAYER", "SIZE", "STATE", "WHY")]
    for number, layer in enumerate(made.layers, start=1):
        state, count = _state(layer, plan=made, store=store)
        rows.append((str(number), title(layer), count, state, layer.reason))
    say(table(rows, right=frozenset({0, 2})))
    say(f"plan {made.id[:12]} for {made.platform}, epoch {made.epoch}")


def _state(layer: Layer, *, plan: Plan, store: Store) -> tuple[str, str]:
    """Whether the layer is in the store, and how large its blob is or the files are that it will be made from."""
    if isinstance(layer, BaseLayer):
        return ("here" if store.has_blob(layer.digest) else "in the registry"), size(layer.size)
    key = layer_key(layer, compression=plan.compression, codec=plan.codec)
    packed = store.layer(key)
    if packed is not None:
        return "here", size(packed.size)
    locked = next((locked for locked in plan.locked if locked.key == key), None)
    return "to make", size(locked.size) if locked else ""


def platform_of(project: Project, *, given: str | None, settings: Settings, store: Store) -> str:
    """What `--platform` says, else the lock file, else the default."""
    return check_platform(given or locking.default_platform(project, settings=settings, store=store))


def check_platform(platform: str) -> str:
    """A platform this release builds for; anything else is an error that lists them."""
    known = ("linux/amd64", "linux/arm64")
    if platform not in known:
        raise click.BadParameter(f"`{platform}` is none of {', '.join(known)}", param_hint="--platform")
    return platform
