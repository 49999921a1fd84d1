"""`schema`: print the OpenAPI document of a model, or compare it with one that is kept in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from builder import __version__, schema
from builder.cli.console import Console, say
from builder.cli.group import Command
from builder.cli.project import find
from builder.config import FILE_NAME
from builder.schema.check import same

_SHOWN = 40
"""Most differences that are listed."""


@click.command(
    "schema",
    cls=Command,
    epilog="Example: cogsmith schema > schema.json && cogsmith schema --check schema.json   (for CI)",
)
@click.argument("project", default=".", type=click.Path(path_type=Path))
@click.option("-f", "--file", default=FILE_NAME, show_default=True, help="Name of the configuration file.")
@click.option("--compact", is_flag=True, help="On one line, as it stands in the image.")
@click.option(
    "--check",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Only say in what the model differs from the document in FILE, and exit with 1 if it does.",
)
@click.option(
    "--openapi-schema",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Instead of reading the source: the document in FILE, checked (also COG_OPENAPI_SCHEMA).",
)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    project: Path,
    file: str,
    compact: bool,
    check: Path | None,
    openapi_schema: Path | None,
) -> None:
    """Print the inputs and outputs of the model in PROJECT as an OpenAPI document, without running any of its code."""
    document = _document(project, file=file, written=openapi_schema)
    if check is not None:
        found = list(differences(schema.load(check), document))
        for line in found[:_SHOWN]:
            say(line)
        if len(found) > _SHOWN:
            say(f"and {len(found) - _SHOWN} more")
        ctx.exit(1 if found else 0)
    if compact:
        from builder.compile import dump_schema

        say(dump_schema(document))
    else:
        say(json.dumps(document, indent=2, ensure_ascii=False))


def _document(project: Path, *, file: str, written: Path | None) -> dict[str, Any]:
    written = written or Path(os.environ.get("COG_OPENAPI_SCHEMA") or "")
    if written != Path():
        return schema.load(written)
    found = find(project, file=file)
    console = Console()
    for warning in found.config.warnings:
        console.warn(warning)
    return schema.document(found.root, run=found.config.run, train=found.config.train, version=__version__)


def differences(kept: Any, made: Any, *, path: str = "") -> Iterator[str]:
    """What is otherwise in `made` than in `kept`, a line each; the release that made them does not matter."""
    if path == "info.version":
        return
    if isinstance(kept, dict) and isinstance(made, dict):
        for key in sorted(kept.keys() | made.keys()):
            below = f"{path}.{key}" if path else key
            if key not in made:
                yield f"{below}: no more in the model, was {_short(kept[key])}"
            elif key not in kept:
                yield f"{below}: new in the model: {_short(made[key])}"
            else:
                yield from differences(kept[key], made[key], path=below)
    elif not same(kept, made):
        yield f"{path}: {_short(made)} in the model, was {_short(kept)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
