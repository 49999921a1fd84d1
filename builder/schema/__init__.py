"""The model's OpenAPI document, from its source by `ast` alone: nothing of the model is imported, nothing installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from builder.errors import SchemaError


class Reading(NamedTuple):
    """What the source of a model says.

    `document` is in the order in which it is to be written.  `concurrency` is the `max` of `@cog.concurrent(max=N)`,
    None without one; `is_async` is whether the method is a coroutine.  Both are the runner's, or else the trainer's.
    """

    document: dict[str, Any]
    concurrency: int | None
    is_async: bool


def document(project: Path, *, run: str | None, train: str | None, version: str) -> dict[str, Any]:
    """The document for `run` and `train` (`path/file.py:Name`), in the order in which it is to be written.

    `version` goes into `info`.  A `SchemaError` names file, line and column of everything that is unclear.
    """
    return read(project, run=run, train=train, version=version).document


def read(project: Path, *, run: str | None, train: str | None, version: str) -> Reading:
    """As `document`, with what else the source says of how the model wants to be run."""
    from builder.schema.openapi import document as openapi
    from builder.schema.runner import describe
    from builder.schema.source import Problem, Project

    files = Project(project)
    if not run and not train:
        raise SchemaError("no predict or train reference provided", hint="add `run: run.py:Runner` to `cog.yaml`")
    try:
        runner = describe(files, reference=run, mode="run") if run else None
        trainer = describe(files, reference=train, mode="train") if train else None
        whole = openapi(runner, train=trainer, version=version)
    except RecursionError as problem:
        raise SchemaError(
            "the source of the model is nested too deeply to be read",
            hint="write the expression or class hierarchy in smaller parts",
        ) from problem
    except Problem as problem:
        raise SchemaError(problem.message, details=problem.place, hint=problem.hint) from problem
    except SchemaError as problem:
        if not files.broken:
            raise
        details = [problem.details or "", *(f"not understood: {why}" for why in files.broken.values())]
        raise SchemaError(problem.brief, details="\n".join(filter(None, details)), hint=problem.hint) from problem
    described = runner or trainer
    assert described is not None
    return Reading(document=whole, concurrency=described.concurrency, is_async=described.is_async)


def load(path: Path, *, check: bool = True) -> dict[str, Any]:
    """A document that the user wrote (`--openapi-schema`, `COG_OPENAPI_SCHEMA`); unchecked with `check=False`.

    `SchemaError` if the file cannot be read, is no JSON, or is no OpenAPI 3.0 document.
    """
    from builder.schema.written import load as load_file

    return load_file(path, check=check)


def validate(document: dict[str, Any]) -> None:
    """`SchemaError` (`Model schema is invalid: ...`) with everything that keeps a document from being OpenAPI 3.0."""
    from builder.schema.written import validate as check

    check(document)
