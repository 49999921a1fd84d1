"""`build` and `plan`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from builder.cli import locking
from builder.cli.building import build_project, deliver, open_project, with_options
from builder.cli.caching import cache_of
from builder.cli.console import Console, say, size, table
from builder.cli.elsewhere import Elsewhere
from builder.cli.group import Command
from builder.cli.locking import get_lock
from builder.cli.options import BuildOptions, build_options
from builder.cli.project import Project, get_plan, image_name, scan_files
from builder.cli.settings import Settings, read
from builder.cli.transfers import transfers
from builder.plan import title
from builder.reference import parse
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
    console.note(f"Building {name} from {found.path}")
    store = Store.open(settings.store_root)
    with store.using(report=console):
        wanted = platforms_of(found, options=options, settings=settings, store=store)
        images = [
            build_project(
                found, settings=settings, store=store, console=console, options=options, tag=name, platform=platform
            )
            for platform in wanted
        ]
        for image in images:
            deliver(image, settings=with_options(settings, options), store=store, console=console)
        name, digest = images[0].name, images[0].digest
        if len(images) > 1:
            from builder.backends import assemble

            digest = assemble.index(images, store=store, name=name).digest
    console.close()
    console.note(f"Image built as {name}" + (f", for {' and '.join(wanted)}" if len(images) > 1 else ""))
    say(json.dumps({"name": name, "digest": digest}) if as_json else digest)


@click.command(cls=Command, epilog="Example: cogsmith plan --json examples/hello-world | jq '.layers[].reason'")
@click.argument("project", default=".", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print exactly what a backend receives.")
@click.option("--to", metavar="REFERENCE", help="Ask this repository what it has, and say what a push would move.")
@build_options
def plan(*, project: Path, as_json: bool, to: str | None, options: BuildOptions) -> None:
    """Show the layers of PROJECT's image in order: what each holds, its size, where it is, why it is there.

    DOWNLOAD is what must come to make the layer here; with --to, UPLOAD is what a push would send.
    """
    from builder.cli import advice

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
        elsewhere = None
        if to is not None:
            repositories = tuple(parse(text) for text in (to, settings.cache_repo) if text)
            elsewhere = Elsewhere(repositories=repositories, settings=settings)
        moving = transfers(
            made,
            store=store,
            elsewhere=elsewhere,
            cache=cache_of(settings, store=store, report=console),
            fresh=options.fresh,
        )
    console.close()
    lints = advice.findings(found, lock=lock, files=files)
    if as_json:
        asked = to or settings.cache_repo
        more: dict[str, Any] = {"transfers": [dataclasses.asdict(one) for one in moving]} if asked else {}
        more |= advice.to_json(lock, lints=lints)
        from builder.backends.nix_document import document

        say(json.dumps({"id": made.id, **document(made), **more}, indent=2))
        return
    rows = [("#", "LAYER", "SIZE", "STATE", "DOWNLOAD", *(["UPLOAD"] if to else []), "WHY")]
    for number, (layer, one) in enumerate(zip(made.layers, moving, strict=True), start=1):
        up = [_bytes(one.upload)] if to else []
        count = "" if one.size is None else size(one.size)
        down = _bytes(one.download) if one.download else "-"
        rows.append((str(number), title(layer), count, one.state, down, *up, layer.reason))
    say(table(rows, right=frozenset({0, 2, 4, *([5] if to else [])})))
    advice.tell(lock, lints=lints, console=console)
    say(f"plan {made.id[:12]} for {made.platform}, epoch {made.epoch}")
    if to:
        coming, going = sum(one.download for one in moving), sum(one.upload or 0 for one in moving)
        unknown = ", and the layers whose size is not known yet" if any(one.upload is None for one in moving) else ""
        say(f"to download {size(coming)}, to send {size(going)}{unknown}")


def _bytes(count: int | None) -> str:
    """Bytes to move; `-` for none, `?` where they are not known."""
    return "?" if count is None else size(count) if count else "-"


def platform_of(project: Project, *, given: str | None, settings: Settings, store: Store) -> str:
    """What `--platform` says, else the lock file, else the default."""
    return check_platform(given or locking.default_platform(project, settings=settings, store=store))


def platforms_of(project: Project, *, options: BuildOptions, settings: Settings, store: Store) -> tuple[str, ...]:
    """What `--platform` says, one or several with commas between; else the one of the lock file, else the default."""
    given = [part.strip() for part in (options.platform or "").split(",")]
    if len(given) < 2:
        return (platform_of(project, given=options.platform, settings=settings, store=store),)
    if options.locked:
        raise click.UsageError("a lock file is for one platform: `--locked` and several of them exclude each other")
    return tuple(dict.fromkeys(check_platform(platform) for platform in given))


def check_platform(platform: str) -> str:
    """A platform this release builds for; anything else is an error that lists them."""
    known = ("linux/amd64", "linux/arm64")
    if "," in platform:
        raise click.BadParameter("only `build` and `push` take several: name one", param_hint="--platform")
    if platform not in known:
        raise click.BadParameter(f"`{platform}` is none of {', '.join(known)}", param_hint="--platform")
    return platform
