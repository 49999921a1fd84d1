"""`doctor`: what is wrong with a project and with this machine, and what to do; `--fix` does what a program can.

`project` holds the checks of a project, `machine` those of the machine, `driver` whether its driver fits the project,
`fixes` the changes to files.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from builder.cli.console import Console, paint, say
from builder.cli.doctor import driver, machine, project
from builder.cli.doctor.finding import Finding
from builder.cli.group import Command
from builder.cli.settings import read
from builder.config import FILE_NAME

SKIP = "COG_SKIP_DOCKER_CHECK"
"""Set: the machine is not looked at.  The name is Cog's."""
MARKS = {"ok": ("ok", "32"), "warning": ("warning", "33"), "error": ("error", "31")}


@click.command(cls=Command, epilog="Example: cogsmith doctor --fix && git diff")
@click.option("-f", "--file", default=FILE_NAME, show_default=True, help="Name of the configuration file.")
@click.option("--fix", is_flag=True, help="Mend what can be mended, in the project's files.")
@click.option("--offline", is_flag=True, help="Do not ask whether indexes and mirrors answer.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, *, file: str, fix: bool, offline: bool, as_json: bool) -> None:
    """Check the project of the current folder and this machine; exit with 1 if there is an error.

    Outside a project only the machine is checked.
    """
    console = Console()
    findings = project.check(Path.cwd(), file=file)
    while fix and (mend := next((found.mend for found in findings if found.mend), None)):
        console.note(f"fixed: {mend()}")
        findings = project.check(Path.cwd(), file=file)  # it may have moved what others were about
    if not os.environ.get(SKIP):
        settings = read()
        findings += machine.check(settings, offline=offline, report=console)
        findings += driver.check(Path.cwd(), file=file, settings=settings)
    if as_json:
        say(json.dumps([found.to_json() for found in findings], indent=2))
    else:
        _tell(findings)
    ctx.exit(1 if any(found.level == "error" for found in findings) else 0)


def _tell(findings: list[Finding]) -> None:
    for found in findings:
        word, colour = MARKS[found.level]
        lines = [f"{paint(word, colour, sys.stdout)}: {found.text}"]
        lines += [f"  {line}" for line in found.details.splitlines()]
        if found.hint:
            lines.append(f"  hint: {found.hint}")
        say("\n".join(lines))
    counts = {level: sum(found.level == level for found in findings) for level in ("error", "warning")}
    mendable = sum(found.mend is not None for found in findings)
    say(
        ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items())
        + (f"; `cogsmith doctor --fix` mends {mendable} of them" if mendable else "")
    )
