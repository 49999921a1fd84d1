"""`build` and `plan`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from builder.cli import locking
from builder.cli.building import build_project, open_project, with_options
from builder.cli.console import Console, say, size, table
from builder.cli.group import Command
from builder.cli.locking import get_lock
from builder.cli.options import BuildOptions, build_options
from builder.cli.project import Project, get_plan, image_name, scan_files
from builder.cli.settings import Settings, read
from builder.plan import BaseLayer, Layer, Plan, layer_key, title
from builder.store import Store


@click.command(cls=Command, epilog="Example: cogsmith build -t my-model examples/hello-world")
@click.argument("project", default=".", type=click.Path(path_type=Path))
@click.option("-t", "--tag", metavar="NAME[:TAG]", help="Name of the image (default: `image` of cog.yaml).")
@click.option("--json", "as_json", is_flag=True, help="Print the image's name and digest as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")
@build_options
def build(*, project: Path, tag: str | None, as_json: bool, quiet: bool, options: BuildOptions) -> None:
    """Build the image of PROJECT (default: the current folder) and print its manifest digest."""
    settings = read()
    console = Console(quiet=quiet, progress=options.progress)
    found = open_project(project, options=options, settings=settings, console=console)
    name = tag or image_name(found)
    console.note(f"Building {name} from {found.root / options.file}")
    store = Store.open(settings.store_root)
    with store.using(report=console):
        wanted = platform_of(found, given=options.platform, settings=settings, store=store)
        image = build_project(
            found, settings=settings, store=store, console=console, options=options, tag=name, platform=wanted
        )
    console.close()
    console.note(f"Image built as {image.name}")
    say(json.dumps({"name": image.name, "digest": image.digest}) if as_json else image.digest)


@click.command(cls=Command, epilog="Example: cogsmith plan --json examples/hello-world | jq '.layers[].reason'")
@click.argument("project", default=".", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print exactly what a backend receives.")
@build_options
def plan(*, project: Path, as_json: bool, options: BuildOptions) -> None:
    """Show the layers of PROJECT's image in order: what each holds, its size, whether it is here, why it is there."""
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
        made = get_plan(found, lock=lock, files=files, settings=settings, options=options)
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
