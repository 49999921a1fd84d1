"""The names that the statements of a file or a class give to values, functions, classes and imports."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Node: TypeAlias = ast.ClassDef | Function | ast.expr
"""What a name can stand for; an expression is the value assigned to it."""


class Names:
    """Names and what they stand for, as far as the statements tell without being run."""

    def __init__(self) -> None:
        self.definitions: dict[str, Node] = {}
        self.imports: dict[str, tuple[str, str, int]] = {}
        """Name → module, name there (empty: the module itself), leading dots."""
        self.stars: list[tuple[str, int]] = []
        """Modules, with their leading dots, of `from module import *`."""
        self.unclear: set[int] = set()
        """Identities of the values that hold only under conditions."""

    def collect(self, body: Iterable[ast.stmt]) -> None:
        """Take in what the statements define."""
        self._collect(body, certain=True)

    def within(self, body: Iterable[ast.stmt]) -> Names:
        """These names and, before them, those of a block inside."""
        inner = Names()
        inner.definitions |= self.definitions
        inner.imports |= self.imports
        inner.stars += self.stars
        inner.unclear = self.unclear
        inner.collect(body)
        return inner

    def _collect(self, body: Iterable[ast.stmt], *, certain: bool) -> None:
        for statement in body:
            match statement:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self._define(name, statement, certain=certain)
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._assign(target, value, certain=certain)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._define(name, value, certain=certain)
                case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                    self._augment(name, op, value, certain=certain)
                case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr), args=[value])):
                    self._mutate(name, attr, value, certain=certain)
                case ast.ImportFrom(module=module, names=names, level=level):
                    for alias in names:
                        self._import(alias.asname or alias.name, (module or "", alias.name, level), certain=certain)
                case ast.Import(names=names):
                    for alias in names:
                        bound = alias.asname or alias.name.partition(".")[0]
                        self._import(bound, (alias.name if alias.asname else bound, "", 0), certain=certain)
                case ast.If(body=inner, orelse=other):
                    self._collect([*inner, *other], certain=False)
                case ast.Try() | ast.TryStar():
                    handled = (line for handler in statement.handlers for line in handler.body)
                    inner = [*statement.body, *handled, *statement.orelse, *statement.finalbody]
                    self._collect(inner, certain=False)
                case ast.With(body=inner):
                    self._collect(inner, certain=certain)
                case _ if type(statement).__name__ == "TypeAlias":  # PEP 695, where this Python knows it
                    self._define(statement.name.id, statement.value, certain=certain)  # type: ignore[attr-defined]

    def _define(self, name: str, node: Node, *, certain: bool) -> None:
        """The last definition counts; of those under conditions, the first."""
        if not certain and (name in self.definitions or name in self.imports):
            self.unclear.add(id(self.definitions.get(name)))
            return
        self.imports.pop(name, None)
        self.definitions[name] = node

    def _import(self, name: str, origin: tuple[str, str, int], *, certain: bool) -> None:
        if origin[1] == "*":
            self.stars.append((origin[0], origin[2]))
        elif certain or (name not in self.definitions and name not in self.imports):
            self.definitions.pop(name, None)
            self.imports[name] = origin

    def _assign(self, target: ast.expr, value: ast.expr, *, certain: bool) -> None:
        match target:
            case ast.Name(id=name):
                self._define(name, value, certain=certain)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if isinstance(value, (ast.Tuple, ast.List)):
                if len(parts) == len(value.elts):
                    for part, own in zip(parts, value.elts, strict=True):
                        self._assign(part, own, certain=certain)
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                self._change(name, lambda old: ast.Dict(keys=[None, key], values=[old, value]), certain=certain)

    def _augment(self, name: str, op: ast.operator, value: ast.expr, *, certain: bool) -> None:
        self._change(name, lambda old: ast.BinOp(old, op, value), certain=certain)

    def _mutate(self, name: str, method: str, value: ast.expr, *, certain: bool) -> None:
        """`X.append(...)`, `X.extend(...)` and `D.update(...)` as the display that they amount to."""
        if method == "append":
            self._change(name, lambda old: ast.BinOp(old, ast.Add(), ast.List(elts=[value])), certain=certain)
        elif method == "extend":
            self._change(name, lambda old: ast.BinOp(old, ast.Add(), value), certain=certain)
        elif method == "update":
            self._change(name, lambda old: ast.Dict(keys=[None, None], values=[old, value]), certain=certain)

    def _change(self, name: str, changed: Callable[[ast.expr], ast.expr], *, certain: bool) -> None:
        old = self.definitions.get(name)
        if isinstance(old, ast.expr):
            new = ast.copy_location(changed(old), old)
            self.definitions[name] = new
            if not certain or id(old) in self.unclear:
                self.unclear.add(id(new))
