"""`cache ls` and `cache prune`."""

from __future__ import annotations

import json
import re

import click

from builder.cli.console import Console, say, size, table
from builder.cli.group import Group
from builder.cli.settings import read
from builder.store import Store

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@click.group(cls=Group, epilog="Example: cogsmith cache prune --dry-run")
def cache() -> None:
    """See and bound what Cogsmith keeps on disk."""


@cache.command("ls", epilog="Example: cogsmith cache ls")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """Show how much is kept, by kind."""
    store = Store.open(read().store_root)
    usage = store.usage()
    if as_json:
        kinds = {item.kind: {"count": item.count, "size": item.size} for item in usage}
        say(json.dumps({"root": str(store.root), "kinds": kinds}))
        return
    rows = [("KIND", "COUNT", "SIZE"), *((item.kind, str(item.count), size(item.size)) for item in usage)]
    say(table(rows, right=frozenset({1, 2})))
    say(f"{size(sum(item.size for item in usage))} in {store.root}")


@cache.command(epilog="Example: cogsmith cache prune --max-size 20GB")
@click.option("--all", "everything", is_flag=True, help="Images too.")
@click.option("--max-size", metavar="SIZE", help="Keep so much of what was used last, such as 20GB.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(*, everything: bool, max_size: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove what no image needs.  Never touches what a running build or container uses."""
    from builder.sandbox import remove_tree

    store = Store.open(read().store_root)
    gone = store.prune(
        everything=everything,
        max_bytes=None if max_size is None else parse_size(max_size),
        dry_run=dry_run,
        remove_tree=remove_tree,
        report=Console(),
    )
    if as_json:
        say(json.dumps([{"kind": item.kind, "name": item.name, "size": item.size} for item in gone]))
        return
    kinds = sorted({item.kind for item in gone})
    for kind in kinds:
        chosen = [item for item in gone if item.kind == kind]
        say(f"{kind}: {len(chosen)}, {size(sum(item.size for item in chosen))}")
    say(f"{'would free' if dry_run else 'freed'} {size(sum(item.size for item in gone))}")


def parse_size(text: str) -> int:
    """Bytes of `20GB`, `500M`, `1000` (powers of 1000)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise click.BadParameter(f"`{text}` is no size; write it as 20GB or 500M", param_hint="--max-size")
    return int(float(match[1]) * UNITS[match[2]])
