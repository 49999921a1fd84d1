"""The model's OpenAPI document, from its source by `ast` alone: nothing of the model is imported, nothing installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.errors import SchemaError


def document(project: Path, *, run: str | None, train: str | None, version: str) -> dict[str, Any]:
    """The document for `run` and `train` (`path/file.py:Name`), in the order in which it is to be written.

    `version` goes into `info`.  A `SchemaError` names file, line and column of everything that is unclear.
    """
    from builder.schema.openapi import document as openapi
    from builder.schema.runner import describe
    from builder.schema.source import Project

    files = Project(project)
    if run is None and train is None:
        raise SchemaError("no predict or train reference provided", hint="add `run: run.py:Runner` to `cog.yaml`")
    return openapi(
        describe(files, reference=run, mode="run") if run else None,
        train=describe(files, reference=train, mode="train") if train else None,
        version=version,
    )
