"""Changes that `doctor --fix` makes to a project's files.  Text is edited in place: comments and layout stay."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from builder.errors import ConfigError

Mend: TypeAlias = Callable[[], str]
_KEY = re.compile(r"(?m)^predict(\s*:)")
_ATTRIBUTES = {("cog", "BasePredictor"): "BaseRunner", ("self", "predict"): "run"}
NAMES = {"BasePredictor": "BaseRunner", "Predictor": "Runner"}


def has_predict(config: str) -> bool:
    """Whether the text of a `cog.yaml` has the key `predict`."""
    return _KEY.search(config) is not None


def why_not(root: Path, *, reference: str) -> str:
    """Why the project cannot be migrated by a program; empty if it can."""
    path, _, _ = reference.partition(":")
    source = root / path
    if source.name == "predict.py" and source.with_name("run.py").exists():
        return f"`{Path(path).with_name('run.py')}` exists already: rename one of them yourself"
    if not source.is_file():
        return f"`{path}` does not exist"
    return ""


def migrate(root: Path, *, file: str, reference: str) -> str:
    """Write `run` for `predict`: the key, the file, the class, its base and its method; what was done, in words."""
    path, _, name = reference.partition(":")
    source = root / path
    text = source.read_text(encoding="utf-8")
    new_name = NAMES.get(name, name)
    target = source.with_name("run.py") if source.name == "predict.py" else source
    changed = _migrated(text, name=name, new_name=new_name)
    _write(target, changed)
    if target != source:
        source.unlink()
    config = root / file
    new_path = str(Path(path).with_name(target.name))
    lines = []
    for line in config.read_text(encoding="utf-8").splitlines(keepends=True):
        if _KEY.match(line):
            line = _KEY.sub(r"run\1", line).replace(reference, f"{new_path}:{new_name}")
        lines.append(line)
    _write(config, "".join(lines))
    moved = f"{path} to {new_path}, " if target != source else ""
    return f"{moved}`predict: {reference}` is `run: {new_path}:{new_name}`"


def _migrated(text: str, *, name: str, new_name: str) -> str:
    """The source with its class, the base class and the method renamed, exactly where Python has those names."""
    lines = text.encode().splitlines(keepends=True)  # columns of `ast` count bytes
    edits: set[tuple[int, int, str, str]] = set()  # line from 0, column, old, new

    def defined(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, new: str) -> None:
        column = lines[node.lineno - 1].find(node.name.encode(), node.col_offset + len("def "))
        edits.add((node.lineno - 1, column, node.name, new))

    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                defined(node, new_name)
                for method in node.body:
                    if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) and method.name == "predict":
                        defined(method, "run")
            case ast.Name(id=used) if used in (name, "BasePredictor"):
                edits.add((node.lineno - 1, node.col_offset, used, new_name if used == name else "BaseRunner"))
            case ast.Attribute(value=ast.Name(id=owner), attr=attr) if (owner, attr) in _ATTRIBUTES:
                column = (node.end_col_offset or 0) - len(attr)
                edits.add(((node.end_lineno or node.lineno) - 1, column, attr, _ATTRIBUTES[owner, attr]))
            case ast.ImportFrom(module="cog"):
                for alias in node.names:
                    if alias.name == "BasePredictor":
                        edits.add((alias.lineno - 1, alias.col_offset, alias.name, "BaseRunner"))
    for number, column, old, new in sorted(edits, reverse=True):
        line = lines[number]
        assert line[column : column + len(old)] == old.encode()
        lines[number] = line[:column] + new.encode() + line[column + len(old) :]
    return b"".join(lines).decode()


def remove_import(path: Path, name: str, *, shown: str) -> str:
    """Take one name out of `from cog import ...`; what was done, in words."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "cog" and name in [alias.name for alias in node.names]:
            kept = [alias for alias in node.names if alias.name != name]
            lines = text.splitlines(keepends=True)
            words = ", ".join(f"{alias.name} as {alias.asname}" if alias.asname else alias.name for alias in kept)
            indent = " " * node.col_offset
            new = [f"{indent}from cog import {words}\n"] if kept else []
            lines[node.lineno - 1 : node.end_lineno] = new
            _write(path, "".join(lines))
            break
    return f"{shown}: `{name}` is not imported any more"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise ConfigError(f"could not write `{path}`: {(problem.strerror or str(problem)).lower()}") from problem
