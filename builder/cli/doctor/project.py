"""The checks of a project: its configuration, its schema, and what of it is old."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from builder.cli.doctor import fixes
from builder.cli.doctor.finding import Finding, from_error
from builder.cli.doctor.sources import python_files
from builder.cli.options import BuildOptions
from builder.cli.project import Project, find, read_schema
from builder.errors import CogsmithError, ConfigError

GONE = {"ExperimentalFeatureWarning": "it warns of nothing any more", "emit_metric": "use `self.record_metric(...)`"}
"""Names of the SDK that are only there so that old models still import."""


def check(folder: Path, *, file: str) -> list[Finding]:
    """All findings of the project of `folder`."""
    try:
        project = find(folder, file=file)
    except ConfigError as problem:
        absent = "not found in" in problem.brief  # nothing is wrong with a folder that is no project
        return [from_error(problem, level="warning" if absent else "error")]
    found = [Finding(level="ok", text=f"{project.path} is valid")]
    told = [warning for warning in project.config.warnings if not warning.startswith('deprecated field "predict"')]
    found += [Finding(level="warning", text=warning) for warning in told]
    found += _schema(project)
    found += _migration(project)
    for path in python_files(project.root):
        found += _source(path, root=project.root)
    return found


def _schema(project: Project) -> Iterator[Finding]:
    """The model's source: the class is there, all is annotated, the schema can be made."""
    if not project.config.run and not project.config.train:
        yield Finding(
            level="warning", text="cog.yaml names no model: `run` is not set", hint='write `run: "run.py:Runner"`'
        )
        return
    try:
        read_schema(project, options=BuildOptions())
    except CogsmithError as problem:
        yield from_error(problem)
    else:
        yield Finding(level="ok", text="the model's inputs and output are clear")


def _migration(project: Project) -> Iterator[Finding]:
    """`predict` is `run` today: the key, the file, the class and the method."""
    config = project.path.read_text(encoding="utf-8")
    if not fixes.has_predict(config):
        return
    refusal = fixes.why_not(project.root, reference=project.config.run or "")
    yield Finding(
        level="warning",
        text="the model is written for an older Cog: `predict`, `Predictor`",
        details="it works as it is; today it is `run`, `Runner`",
        hint=refusal or "`cogsmith doctor --fix` renames the key, the file, the class and the method",
        mend=None
        if refusal
        else lambda: fixes.migrate(project.root, file=project.file, reference=project.config.run or ""),
    )


def _source(path: Path, *, root: Path) -> Iterator[Finding]:
    name = path.relative_to(root)
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # the model's own file is the schema's to judge, others may be for another Python
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "cog" and node.level == 0:
            for alias in node.names:
                if alias.name in GONE:
                    only = alias.name == "ExperimentalFeatureWarning" and not _is_used(tree, alias.asname or alias.name)
                    yield Finding(
                        level="warning",
                        text=f"{name}:{node.lineno}: `{alias.name}` is deprecated: {GONE[alias.name]}",
                        mend=_remover(path, alias.name, name=str(name)) if only else None,
                    )
        elif isinstance(node, ast.ClassDef) and _allows_arbitrary_types(node):
            yield Finding(
                level="warning",
                text=f"{name}:{node.lineno}: `{node.name}` allows arbitrary types, which no schema can describe",
                hint="derive outputs from `cog.BaseModel`, with fields of str, int, float, bool, Path, lists and dicts",
            )


def _remover(path: Path, imported: str, *, name: str) -> fixes.Mend:
    return lambda: fixes.remove_import(path, imported, shown=name)


def _is_used(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def _allows_arbitrary_types(node: ast.ClassDef) -> bool:
    """A pydantic model with `arbitrary_types_allowed`, in whichever of the three ways."""

    def is_true(value: ast.expr) -> bool:
        return isinstance(value, ast.Constant) and value.value is True

    for inner in ast.walk(node):
        match inner:
            case ast.keyword(arg="arbitrary_types_allowed", value=value) if is_true(value):
                return True
            case ast.Assign(targets=[ast.Name(id="arbitrary_types_allowed")], value=value) if is_true(value):
                return True
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "arbitrary_types_allowed" and is_true(value):
                        return True
    return False
