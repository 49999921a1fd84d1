"""`python -m builder.cuda_matrix refresh`: the table of CUDA beside the Python package index of this machine."""

from __future__ import annotations

import sys

import click

from builder.cli.console import Console, print_error, say
from builder.cli.settings import read
from builder.errors import CogsmithError
from builder.store import Store


@click.group()
def main() -> None:
    """The table of CUDA."""


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME[==VERSION]]...")
@click.pass_context
def refresh(ctx: click.Context, *, names: tuple[str, ...]) -> None:
    """Say how the rows differ from the index, and what is newer; exit with 1 if anything is."""
    from builder.resolve.cuda_refresh import compare

    settings = read()
    console = Console()
    store = Store.open(settings.store_root)
    try:
        with store.using(report=console):
            found = compare(env=settings.env, store=store, report=console, only=names)
    except CogsmithError as problem:
        print_error(problem)
        sys.exit(problem.exit_code)
    console.close()
    for difference in found:
        say(str(difference))
    if not found:
        console.note("the rows are what the index says")
    ctx.exit(1 if found else 0)


if __name__ == "__main__":
    main(prog_name="python -m builder.cuda_matrix")
