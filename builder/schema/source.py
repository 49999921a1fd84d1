"""Python files of a project as syntax trees, with names followed through local imports.  Nothing is ever imported."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator
from math import inf
from pathlib import Path
from typing import NamedTuple, TypeAlias

from builder.errors import SchemaError
from builder.schema.names import Function, Names
from builder.schema.syntax import parse

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEPTH = 30
"""Most steps (imports, aliases, attributes) that one name is followed."""
_MAX_BYTES = 16 * 1024 * 1024
"""Largest source file that is read."""


class Problem(Exception):  # noqa: N818
    """Something in a source file that the schema cannot be made from, at `node` of `module`; `hint`: what to write."""

    def __init__(self, message: str, *, module: Module, node: ast.AST, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = module.place(node)
        self.hint = hint


class Definition(NamedTuple):
    """What a name stands for: a class, a function or the value assigned to it, in the file that says so."""

    module: Module
    node: ast.ClassDef | Function | ast.expr


Target: TypeAlias = "Definition | Module | str"
"""What a name leads to: a definition or a file of the project, or the full name of something outside (`cog.Path`)."""


class Project:
    """The files of a project, each parsed at most once."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._modules: dict[Path, Module] = {}
        self.broken: dict[Path, str] = {}
        """Files that others import and that cannot be read, and why."""
        self._found: dict[tuple[str, Path, int], Path | None] = {}

    def open(self, name: str) -> Module:
        """The file `name`, relative to the project; a `SchemaError` if it is outside, missing or not Python."""
        try:
            path = (self.root / name).resolve()
            inside = not Path(name).is_absolute() and path.is_relative_to(self.root)
            there = path.is_file()
        except (OSError, ValueError, RuntimeError) as problem:
            raise SchemaError(f"failed to read predictor source {name}: {problem}") from problem
        if not inside:
            raise SchemaError(
                f'predictor source path "{name}" is outside source directory',
                hint="name a file of the project, relative to `cog.yaml`",
            )
        if not there:
            raise SchemaError(
                f"failed to read predictor source {name}: there is no such file",
                hint="correct the path in `cog.yaml`: it is relative to that file",
            )
        return self.parse(path)

    def parse(self, path: Path) -> Module:
        """The file at `path`, inside the project."""
        if path not in self._modules:
            self._modules[path] = Module(self, path)
        return self._modules[path]

    def find(self, dotted: str, *, beside: Path, level: int) -> Module | None:
        """The project's own module of that name, seen from the file `beside` (`level` leading dots); or `None`."""
        key = (dotted, beside, level)
        if key not in self._found:
            self._found[key] = self._locate(dotted, beside=beside, level=level)
        path = self._found[key]
        if path is None or path in self.broken:
            return None
        try:
            return self.parse(path)
        except SchemaError as problem:  # it may not matter: what is asked for may be nothing that a schema needs
            self.broken[path] = (problem.details or problem.brief).splitlines()[0]
            return None

    def _locate(self, dotted: str, *, beside: Path, level: int) -> Path | None:
        parts = [part for part in dotted.split(".") if part]
        if level > len(beside.parents) or not (parts or level):
            return None
        folders = [beside.parents[level - 1]] if level else [self.root, beside.parent]
        for folder in folders:
            base = folder.joinpath(*parts)
            for path in (base / "__init__.py", base.with_name(base.name + ".py") if parts else base / "__init__.py"):
                try:
                    if path.is_file() and (real := path.resolve()).is_relative_to(self.root):
                        return real
                except (OSError, ValueError, RuntimeError):  # a name too long, a loop of links
                    continue
        return None


class Module:
    """One parsed file: its top-level definitions and imports."""

    def __init__(self, project: Project, path: Path) -> None:
        self._project = project
        self.path = path
        self.name = path.relative_to(project.root).as_posix()
        try:
            size = path.stat().st_size
            self._data = path.read_bytes() if size <= _MAX_BYTES else b""
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise SchemaError(f"failed to read predictor source {self.name}: {reason}") from problem
        if size > _MAX_BYTES:
            raise SchemaError(f"failed to read predictor source {self.name}: it has {size} bytes")
        self._known: dict[str, Target] = {}
        self._names = Names()
        self._names.collect(parse(self._data, name=self.name).body)

    def place(self, node: ast.AST) -> str:
        """`file:line:column`, with the source line and a mark below the column."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        where = f"{self.name}:{line}"
        # as Python counts them: no other separators, and the offset counts bytes of UTF-8
        lines = self._data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if line > len(lines):
            return f"{where}:{column + 1}"
        text = lines[line - 1].decode("utf-8", errors="replace").removeprefix("\ufeff")
        before = text.encode(errors="replace")[:column].decode(errors="replace")
        stripped = text.lstrip()
        mark = max(len(before) - (len(text) - len(stripped)), 0)
        shown = "".join(letter if letter.isprintable() else " " for letter in stripped.rstrip())
        return f"{where}:{len(before) + 1}\n    {shown}\n    {' ' * mark}^"

    def resolve(self, node: ast.expr, *, depth: int = _DEPTH) -> Target:
        """What a name leads to, through imports, re-exports and aliases; empty if `node` is no name."""
        match node:
            case ast.Name(id=name):
                return self.lookup(name, depth=depth)
            case ast.Attribute(value=value, attr=attr):
                holder = self.resolve(value, depth=depth - 1) if depth else ""
                if isinstance(holder, Module):
                    return holder.lookup(attr, depth=depth - 1)
                if isinstance(holder, Definition):
                    inner = member(holder, attr, depth=depth - 1)
                    return inner if inner is not None else ""
                whole = f"{holder}.{attr}" if holder else ""
                return self._project.find(whole.lstrip("."), beside=self.path, level=0) or whole
            case _:
                return ""

    def lookup(self, name: str, *, depth: int = _DEPTH) -> Target:
        """What the top-level `name` of this file leads to."""
        if depth < _DEPTH:
            return self._follow(name, depth=depth) if depth > 0 else name
        if name not in self._known:
            self._known[name] = self._follow(name, depth=depth)
        return self._known[name]

    def _follow(self, name: str, *, depth: int) -> Target:
        if name in self._names.definitions:
            node = self._names.definitions[name]
            if isinstance(node, (ast.Name, ast.Attribute)):
                aliased = self.resolve(node, depth=depth - 1)
                return aliased if aliased != "" else Definition(self, node)
            return Definition(self, node)
        if name in self._names.imports:
            module, original, level = self._names.imports[name]
            found = self._project.find(module, beside=self.path, level=level) if module or level else None
            if not original:
                return found or module
            if found is not None and found is not self and found.has(original):
                return found.lookup(original, depth=depth - 1)
            whole = f"{module}.{original}" if module else original
            return self._project.find(whole, beside=self.path, level=level) or "." * level + whole
        for module, level in reversed(self._names.stars):
            found = self._project.find(module, beside=self.path, level=level)
            if found is not None and found is not self and found.has(name):
                return found.lookup(name, depth=depth - 1)
        inner = self._project.find(name, beside=self.path, level=1) if self.path.name == "__init__.py" else None
        return inner or name

    def has(self, name: str, *, seen: set[Path] | None = None) -> bool:
        """Whether this file defines or imports the name, by a star too."""
        seen = set() if seen is None else seen
        if name in self._names.definitions or name in self._names.imports:
            return True
        seen.add(self.path)
        stars = (self._project.find(module, beside=self.path, level=level) for module, level in self._names.stars)
        return any(found and found.path not in seen and found.has(name, seen=seen) for found in stars)

    def constant(self, name: str) -> Definition | None:
        """The value assigned to a top-level name, here or where it is imported from, if the source alone tells."""
        found = self.lookup(name)
        if isinstance(found, Definition) and isinstance(found.node, ast.expr) and name not in self._names.changed:
            return None if found.module.is_unclear(found.node) else found
        return None

    def within(self, node: ast.ClassDef, *, at: ast.stmt | None = None) -> Module:
        """This file as seen from inside the body of a class, whose own names come first; those above `at`, if given."""
        inner = copy.copy(self)
        inner._known = {}  # noqa: SLF001  # its own
        inner._names = self._names.within(node.body, above=at.lineno if at else inf)  # noqa: SLF001  # its own
        return inner

    def callables(self) -> list[str]:
        """The names of the classes and functions of this file."""
        return [name for name, node in self._names.definitions.items() if not isinstance(node, ast.expr)]

    def is_unclear(self, node: ast.AST) -> bool:
        """Whether `node`, the value of a top-level name, holds only under conditions."""
        return id(node) in self._names.unclear

    def definition(self, node: ast.expr) -> Definition | None:
        """What a name of the project stands for; None for anything outside."""
        found = self.resolve(node)
        return found if isinstance(found, Definition) else None

    def final(self, node: ast.expr) -> str:
        """The last part of the full name outside the project: `Path` for `cog.Path` and what is an alias of it."""
        found = self.resolve(node)
        return found.rpartition(".")[2] if isinstance(found, str) else ""

    def imported_from(self, node: ast.expr) -> str:
        """The module outside the project that a name was imported from, or empty."""
        found = self.resolve(node)
        return found.rpartition(".")[0] if isinstance(found, str) else ""


def statements(body: Iterable[ast.stmt], *, depth: int = 20) -> Iterator[ast.stmt]:
    """The statements of a block and of the conditions in it."""
    for statement in body:
        yield statement
        if depth and isinstance(statement, (ast.If, ast.Try, ast.TryStar, ast.With)):
            yield from statements(statement.body, depth=depth - 1)
        if depth and isinstance(statement, (ast.If, ast.Try, ast.TryStar)):
            yield from statements(statement.orelse, depth=depth - 1)


def lineage(definition: Definition) -> list[Definition]:
    """A class and those of its bases that are in the project, in the order in which Python looks (C3)."""
    return _linear(definition, known={})


def _linear(definition: Definition, *, known: dict[int, list[Definition]]) -> list[Definition]:
    node = definition.node
    if not isinstance(node, ast.ClassDef) or id(node) in known:
        return known.get(id(node), [])
    known[id(node)] = []  # a class that is its own base has none
    bases = [base for expr in node.bases if (base := definition.module.definition(_plain(expr))) is not None]
    rows = [_linear(base, known=known) for base in bases]
    rows = [row for row in [*rows, [row[0] for row in rows if row]] if row]
    order = [definition]
    while rows:
        tails = {id(item.node) for row in rows for item in row[1:]}
        head = next((row[0] for row in rows if id(row[0].node) not in tails), rows[0][0])
        order.append(head)
        rows = [rest for row in rows if (rest := [item for item in row if item.node is not head.node])]
    known[id(node)] = order
    return order


def _plain(expr: ast.expr) -> ast.expr:
    """A base class without its type arguments: `Base` of `Base[int]`."""
    return expr.value if isinstance(expr, ast.Subscript) else expr


def base_names(definition: Definition) -> set[str]:
    """The final names of all bases of a class that are outside the project."""
    names = set()
    for owner in lineage(definition):
        assert isinstance(owner.node, ast.ClassDef)
        names |= {owner.module.final(_plain(base)) for base in owner.node.bases}
    return names - {""}


def member(holder: Definition, name: str, *, depth: int = _DEPTH) -> Definition | None:
    """The attribute, method or class inside a class of the project, inherited ones included."""
    if depth <= 0 or not isinstance(holder.node, ast.ClassDef):
        return None
    for owner in lineage(holder):
        assert isinstance(owner.node, ast.ClassDef)
        found: ast.ClassDef | Function | ast.expr | None = None
        for statement in statements(owner.node.body):
            match statement:
                case ast.Assign(targets=[ast.Name(id=bound)], value=value) if bound == name:
                    found = value
                case ast.AnnAssign(target=ast.Name(id=bound), value=ast.expr() as value) if bound == name:
                    found = value
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if statement.name == name:
                    found = statement
        if found is not None:
            return Definition(owner.module.within(owner.node) if isinstance(found, ast.expr) else owner.module, found)
    return None
