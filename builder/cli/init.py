"""`init`: the files of a new project, which builds and runs as it is."""

from __future__ import annotations

from pathlib import Path

import click

from builder.cli.console import Console
from builder.cli.group import Command
from builder.errors import ConfigError

FILES = {
    ".dockerignore": "dockerignore.txt",
    ".github/workflows/push.yaml": "push.yaml.txt",
    "cog.yaml": "cog.yaml.txt",
    "requirements.txt": "requirements.txt",
    "run.py": "run.py.txt",
}
"""Name in the project → in the folder `template` beside this file."""


@click.command(cls=Command, epilog="Example: cogsmith init && cogsmith run -i image=@photo.jpg")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
def init(*, folder: Path) -> None:
    """Begin a project in FOLDER (default: the current one): cog.yaml, a small model, and what goes with them.

    Files that are there already stay as they are.
    """
    console = Console()
    console.note("Setting up the current directory for use with Cog..." if folder == Path() else f"Setting up {folder}")
    template = Path(__file__).parent / "template"
    for name, source in FILES.items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("x", encoding="utf-8") as file:
                file.write((template / source).read_text(encoding="utf-8"))
        except FileExistsError:
            console.note(f"Skipped existing {name}")
        except OSError as problem:
            raise ConfigError(
                f"could not write `{target}`: {(problem.strerror or str(problem)).lower()}",
                hint="name a folder that can be written",
            ) from problem
        else:
            console.note(f"Created {name}")
    console.note("Done! Next: `cogsmith run -i image=@FILE` builds the model and runs it; `cogsmith doctor` checks it")
