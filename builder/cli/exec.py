"""`exec`: a command in the image of a project, with the project's folder in it."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Iterable

import click

from builder.cli.completion import ImageName
from builder.cli.console import Console
from builder.cli.group import Command
from builder.cli.options import BuildOptions, project_options
from builder.cli.running import (
    Place,
    chosen_engine,
    engine_option,
    env_option,
    environment,
    given_gpus,
    gpu_mounts,
    gpus_option,
)
from builder.cli.settings import read
from builder.engine import container
from builder.errors import InputError
from builder.sandbox import Mount
from builder.store import Store


@click.command(
    "exec",
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    epilog="Example: cogsmith exec python -c 'import torch; print(torch.__version__)'",
)
@env_option
@gpus_option
@engine_option
@click.option("-p", "--publish", multiple=True, metavar="[HOST:]PORT", help="A port of the command (see the manual).")
@click.option(
    "--image", "reference", metavar="IMAGE", type=ImageName(), help="An image instead of the current folder's project."
)
@project_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(
    ctx: click.Context,
    *,
    env: tuple[str, ...],
    gpus: str | None,
    engine_name: str | None,
    publish: tuple[str, ...],
    reference: str | None,
    command: tuple[str, ...],
    options: BuildOptions,
) -> None:
    """Run COMMAND in the image of the current folder's project, with the project mounted at /src.

    Ends with the command's exit code.
    """
    code = run_command(
        command, reference=reference, env=env, gpus=gpus, engine=engine_name, publish=publish, options=options
    )
    ctx.exit(code)


def run_command(
    command: tuple[str, ...],
    *,
    reference: str | None,
    env: tuple[str, ...],
    gpus: str | None,
    engine: str | None,
    publish: Iterable[str],
    options: BuildOptions,
) -> int:
    """The command's exit code.

    Ports need nothing done: the container is on the network of this machine, so what listens there listens here.
    """
    for port in publish:
        check_port(port)
    variables = environment(env)
    wanted_gpus = given_gpus(gpus)
    settings = read()
    runs = chosen_engine(engine, settings=settings)
    console = Console(progress=options.progress)
    store = Store.open(settings.store_root)
    place = Place(settings=settings, store=store, console=console, options=options)
    with store.using(report=console):
        mounts: tuple[Mount, ...] = ()
        if reference is None:
            project = place.project()
            image = place.built(project, schema_needed=False)
            mounts = (Mount(target="/src", source=project.root),)
        else:
            image = place.model(reference)
        return runs.run(
            image,
            store=store,
            options=container.Options(
                command=command,
                env=variables,
                mounts=(*mounts, *gpu_mounts(wanted_gpus, image=image, console=console)),
                workdir="/src",
                tty=sys.stdin.isatty(),
            ),
            report=console,
            fetch=place.fetch(image),
        )


def check_port(text: str) -> None:
    """`8000`, `0.0.0.0:8000` or `[::1]:8000`; an `InputError` for anything else."""
    match = re.fullmatch(r"(?:(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+)):)?(?P<port>[0-9]{1,5})", text)
    problem = "" if match else "not a port"
    if match:
        try:
            ipaddress.ip_address(match["six"] or match["four"] or "127.0.0.1")
        except ValueError as wrong:
            problem = str(wrong)
        if not 0 < int(match["port"]) < 65536:
            problem = "must be between 1 and 65535"
    if problem:
        raise InputError(
            f'invalid port "{text}": {problem}', hint="as in `-p 8000`, `-p 0.0.0.0:8000` or `-p [::1]:8000`"
        )
