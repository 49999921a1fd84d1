"""Python files of a project as syntax trees, with names followed through local imports.  Nothing is ever imported."""

from __future__ import annotations

import ast
import dataclasses
import warnings
from pathlib import Path
from typing import TypeAlias

from builder.errors import SchemaError

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Problem(Exception):  # noqa: N818
    """Something in a source file that the schema cannot be made from, at `node` of `module`."""

    def __init__(self, message: str, *, module: Module, node: ast.AST) -> None:
        super().__init__(message)
        self.message = message
        self.place = module.place(node)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """What a name stands for: a class, a function or the value assigned to it, in the file that says so."""

    module: Module
    node: ast.ClassDef | Function | ast.expr


class Project:
    """The files of a project, each parsed at most once."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._modules: dict[Path, Module] = {}

    def open(self, name: str) -> Module:
        """The file `name`, relative to the project; a `SchemaError` if it is outside, missing or not Python."""
        path = (self.root / name).resolve()
        if Path(name).is_absolute() or not path.is_relative_to(self.root):
            raise SchemaError(f'predictor source path "{name}" is outside source directory')
        if not path.is_file():
            raise SchemaError(f"failed to read predictor source {name}: there is no such file")
        return self.parse(path)

    def parse(self, path: Path) -> Module:
        """The file at `path`, inside the project."""
        if path not in self._modules:
            self._modules[path] = Module(self, path)
        return self._modules[path]

    def find(self, dotted: str, *, beside: Path, level: int) -> Module | None:
        """The project's own module of that name, seen from the file `beside` (`level` leading dots); or `None`."""
        parts = [part for part in dotted.split(".") if part]
        folders = [beside.parents[level - 1]] if level else [self.root, beside.parent]
        for folder in folders:
            base = folder.joinpath(*parts)
            for path in (base.with_suffix(".py"), base / "__init__.py"):
                if path.is_file() and path.resolve().is_relative_to(self.root):
                    return self.parse(path.resolve())
        return None


class Module:
    """One parsed file: its top-level definitions and imports."""

    def __init__(self, project: Project, path: Path) -> None:
        self._project = project
        self._path = path
        self._name = path.relative_to(project.root).as_posix()
        try:
            data = path.read_bytes()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(data, filename=self._name)
        except (OSError, ValueError, SyntaxError) as problem:
            raise _unreadable(self._name, problem) from problem
        self._lines = data.decode("utf-8", errors="replace").splitlines()
        self._definitions: dict[str, ast.ClassDef | Function | ast.expr] = {}
        self._imports: dict[str, tuple[str, str, int]] = {}
        self._collect(tree.body)

    def _collect(self, body: list[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._definitions[statement.name] = statement
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._definitions[name] = value
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._definitions[name] = value
                case ast.ImportFrom(module=module, names=names, level=level):
                    for alias in names:
                        self._imports[alias.asname or alias.name] = (module or "", alias.name, level)
                case ast.Import(names=names):
                    for alias in names:
                        bound = alias.asname or alias.name.partition(".")[0]
                        self._imports[bound] = (alias.name if alias.asname else bound, "", 0)
                case ast.If(body=inner, orelse=other):
                    self._collect([*inner, *other])
                case ast.Try(body=inner, handlers=handlers):
                    self._collect([*inner, *(line for handler in handlers for line in handler.body)])

    def place(self, node: ast.AST) -> str:
        """`file:line:column`, with the source line and a mark below the column."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        where = f"{self._name}:{line}:{column + 1}"
        if line > len(self._lines):
            return where
        text = self._lines[line - 1]
        # the offset counts bytes of UTF-8
        before = text.encode()[:column].decode(errors="replace")
        stripped = text.lstrip()
        indent = len(before) - (len(text) - len(stripped))
        return f"{where}\n    {stripped.rstrip()}\n    {' ' * max(indent, 0)}^"

    def dotted(self, node: ast.expr) -> str:
        """The full name that `node` refers to, imports followed one step (`cog.Path`); empty if it is no name."""
        match node:
            case ast.Name(id=name):
                if name in self._definitions or name not in self._imports:
                    return name
                module, original, _ = self._imports[name]
                return f"{module}.{original}" if original else module
            case ast.Attribute(value=value, attr=attr):
                head = self.dotted(value)
                return f"{head}.{attr}" if head else ""
            case _:
                return ""

    def final(self, node: ast.expr) -> str:
        """The last part of the full name: `Path` for `cog.Path`, and for `P` after `from cog import Path as P`."""
        return self.dotted(node).rpartition(".")[2]

    def imported_from(self, node: ast.expr) -> str:
        """The module that a name was imported from, or empty."""
        match node:
            case ast.Name(id=name) if name in self._imports and name not in self._definitions:
                return self._imports[name][0]
            case ast.Attribute():
                return self.dotted(node).rpartition(".")[0]
            case _:
                return ""

    def definition(self, node: ast.expr, *, depth: int = 10) -> Definition | None:
        """What a name stands for, in this file or in one of the project's that it is imported from."""
        if depth == 0:
            return None
        match node:
            case ast.Name(id=name) if name in self._definitions:
                return Definition(self, self._definitions[name])
            case ast.Name(id=name) if name in self._imports:
                module, original, level = self._imports[name]
                found = self._project.find(module, beside=self._path, level=level) if original else None
                return found.definition(ast.Name(id=original), depth=depth - 1) if found else None
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in self._imports:
                module, original, level = self._imports[name]
                whole = ".".join(part for part in (module, original) if part)
                found = self._project.find(whole, beside=self._path, level=level)
                return found.definition(ast.Name(id=attr), depth=depth - 1) if found else None
            case _:
                return None

    def lookup(self, name: str) -> Definition | None:
        """The top-level definition of `name`."""
        return self.definition(ast.Name(id=name))


def _unreadable(name: str, problem: Exception) -> SchemaError:
    if isinstance(problem, SyntaxError):
        line = (problem.text or "").strip()
        details = f"{name}:{problem.lineno}:{problem.offset}: {problem.msg}" + (f"\n    {line}" if line else "")
        return SchemaError(f"`{name}` is not valid Python", details=details)
    return SchemaError(f"failed to read predictor source {name}: {problem}")
