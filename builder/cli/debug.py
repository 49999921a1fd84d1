"""`debug`: the project as a Containerfile, for other tools and for those who want to see what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from builder.cli.building import open_project, with_options
from builder.cli.console import Console, say
from builder.cli.group import Command
from builder.cli.locking import default_platform, get_lock
from builder.cli.options import BuildOptions, build_options
from builder.cli.project import get_plan, scan_files
from builder.cli.settings import read
from builder.store import Store


@click.command(
    cls=Command,
    hidden=True,
    epilog="Example: cogsmith debug > Containerfile && buildah bud -t my-model -f Containerfile .",
)
@click.option(
    "--image-name", metavar="NAME", hidden=True, help="Accepted; changes nothing: a Containerfile has no name."
)
@build_options
def debug(*, image_name: str | None, options: BuildOptions) -> None:
    """Print a Containerfile that builds the current folder's project with buildah, podman or docker.

    It installs the locked versions by their hashes and needs no Cogsmith where it is used.
    """
    del image_name
    settings = with_options(read(), options)
    console = Console(progress=options.progress)
    project = open_project(Path.cwd(), options=options, settings=settings, console=console)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        platform = options.platform or default_platform(project, settings=settings, store=store)
        lock, _ = get_lock(
            project,
            settings=settings,
            store=store,
            platform=platform,
            console=console,
            locked=options.locked,
            fresh=options.fresh,
        )
        files = scan_files(project, store=store)
        plan = get_plan(project, lock=lock, files=files, settings=settings, options=options)
    console.close()
    labels: dict[str, Any] = dict(plan.config.labels)
    from builder.emit.containerfile import containerfile

    text = containerfile(
        project.config,
        lock,
        image=plan.config,
        runtime={entry.path: files.local[entry.sha256].read_bytes() for entry in files.runtime if entry.type == "file"},
        schema=labels.get("run.cog.openapi_schema"),
    )
    say(text.rstrip("\n"))
