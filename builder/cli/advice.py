"""What `plan` says beside its layers: why the image has which CUDA, and what is hardly meant as it is."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

from builder import cuda_matrix
from builder.cli.console import Console, say
from builder.cli.project import Files, Project
from builder.lock import Lock
from builder.plan import to_plain
from builder.resolve.lints import Lint, lint

WIDTH = 100


def findings(project: Project, *, lock: Lock, files: Files) -> tuple[Lint, ...]:
    """The lints of a project with this lock."""
    return lint(project.config, lock=lock, code=files.source)


def to_json(lock: Lock, *, lints: tuple[Lint, ...]) -> dict[str, Any]:
    """As `plan --json` has it."""
    made: dict[str, Any] = {"lints": [dataclasses.asdict(found) for found in lints]}
    if lock.cuda is not None:
        made["cuda"] = {**to_plain(lock.cuda), "text": cuda_matrix.paragraph(lock.cuda)}
    return made


def tell(lock: Lock, *, lints: tuple[Lint, ...], console: Console) -> None:
    """The paragraph on standard output, the lints as warnings."""
    if lock.cuda is not None:
        say(
            textwrap.fill(cuda_matrix.paragraph(lock.cuda), width=WIDTH, break_long_words=False, break_on_hyphens=False)
        )
    for found in lints:
        console.warn(f"{found.name}: {found.evidence} ({found.hint})")
