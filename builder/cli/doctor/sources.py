"""The Python files of a project as `doctor` reads and edits them: encoding, line ends and layout stay."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from builder.errors import CogsmithError, ConfigError
from builder.schema.syntax import parse

SKIPPED = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__", ".cog", "site-packages"})
MAX_FILES = 2000


class MisplacedError(Exception):
    """The tree says that a name stands where it does not, as within an f-string on Python 3.11."""


class Source:
    """One file as lines of UTF-8, which is what the columns of `ast` count in, and as a tree."""

    def __init__(self, path: Path) -> None:
        """A `CogsmithError` if the file cannot be read or is not valid Python."""
        self.path = path
        try:
            data = path.read_bytes()
        except OSError as problem:
            raise ConfigError(f"could not read `{path}`: {(problem.strerror or str(problem)).lower()}") from problem
        self.tree = parse(data, name=path.name)
        self._encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        self.lines = data.decode(self._encoding).encode().splitlines(keepends=True)

    def replace(self, line: int, column: int, old: str, new: str) -> None:
        """Write `new` for `old`, which stands at `line` (from 0)."""
        text, end = self.lines[line], column + len(old.encode())
        if column < 0 or text[column:end] != old.encode():
            raise MisplacedError
        self.lines[line] = text[:column] + new.encode() + text[end:]

    def encoded(self) -> bytes:
        """What the file is to hold."""
        return b"".join(self.lines).decode().encode(self._encoding)


def python_files(root: Path) -> list[Path]:
    """The Python files of a project, as many as are looked at."""
    found: list[Path] = []
    todo = [root]
    while todo and len(found) < MAX_FILES:
        try:
            inside = sorted(todo.pop().iterdir())
        except OSError:
            continue  # it is not ours to read
        for path in inside:
            if path.is_symlink() or path.name in SKIPPED:
                continue
            if path.is_dir():
                todo.append(path)
            elif path.suffix == ".py":
                found.append(path)
    return found


def taken_from(root: Path, module: Path) -> set[str]:
    """What other files of the project take from the file `module`: names, and `*` for whatever it has."""
    found: set[str] = set()
    for path in python_files(root):
        if path == module:
            continue
        try:
            data = path.read_bytes()
            mentioned = module.stem.encode() in data
            found |= set(_imported(parse(data, name=path.name), module.stem)) if mentioned else set()
        except (OSError, CogsmithError):
            found.add("*")  # who knows
        else:
            if module.name.encode() in data:
                found.add("")  # the file's name, as in `subprocess.run(["python", "predict.py"])`
    return found


def _imported(tree: ast.Module, stem: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(stem in alias.name.split(".") for alias in names):
                yield "*"
            case ast.ImportFrom(module=module, names=names):
                if stem in (module or "").split("."):
                    yield from (alias.name for alias in names)
                elif any(alias.name == stem for alias in names):
                    yield "*"
            case ast.Call(func=function, args=[ast.Constant(value=str() as text), *_]):
                called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                if called in {"import_module", "__import__"} and stem in text.split("."):
                    yield "*"
