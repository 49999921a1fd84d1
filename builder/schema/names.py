"""The names that the statements of a file or a class give to values, functions, classes and imports."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable
from math import inf
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
        self.unclear: dict[int, Node] = {}
        """The values that hold only under conditions, or that only running the code would tell; by identity."""
        self.changed: set[str] = set()
        """Imported names whose values are changed here."""

    def collect(self, body: Iterable[ast.stmt]) -> None:
        """Take in what the statements define."""
        self._collect(body, certain=True)

    def within(self, body: Iterable[ast.stmt], *, above: float = inf) -> Names:
        """These names and, before them, those of a block inside, as far as they are defined `above` a line.

        Classes below are known as well, to annotations that are written as strings, unless that hides another name.
        """
        inner = Names()
        inner.definitions |= self.definitions
        inner.imports |= self.imports
        inner.stars += self.stars
        inner.unclear |= self.unclear
        inner.changed |= self.changed
        lines = list(body)
        inner._collect(lines, certain=True, above=above)
        for line in lines:
            if isinstance(line, ast.ClassDef) and line.lineno >= above and not inner._has(line.name):
                inner.definitions[line.name] = line
        return inner

    def _has(self, name: str) -> bool:
        return name in self.definitions or name in self.imports or hasattr(builtins, name)

    def _collect(self, body: Iterable[ast.stmt], *, certain: bool, above: float = inf) -> None:
        for statement in body:
            if statement.lineno >= above:
                return
            match statement:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self._define(name, statement, certain=certain)
                case ast.Assign(targets=targets, value=value):
                    self._touch(value)
                    for target in targets:
                        self._assign(target, value, certain=certain)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._touch(value)
                    self._define(name, value, certain=certain)
                case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                    self._touch(value)
                    self._augment(name, op, value, certain=certain)
                case ast.Expr(
                    value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr), args=args, keywords=[])
                ) if (attr, len(args)) in _UNDERSTOOD and not (attr == "insert" and not _is_zero(args[0])):
                    self._mutate(name, attr, args[-1], certain=certain)
                case ast.ImportFrom(module=module, names=names, level=level):
                    for alias in names:
                        self._import(alias.asname or alias.name, (module or "", alias.name, level), certain=certain)
                case ast.Import(names=names):
                    for alias in names:
                        bound = alias.asname or alias.name.partition(".")[0]
                        self._import(bound, (alias.name if alias.asname else bound, "", 0), certain=certain)
                case ast.If(test=test, body=inner, orelse=other):
                    self._touch(test)
                    self._collect([*inner, *other], certain=False, above=above)
                case ast.Try() | ast.TryStar():
                    handled = (line for handler in statement.handlers for line in handler.body)
                    inner = [*statement.body, *handled, *statement.orelse, *statement.finalbody]
                    self._collect(inner, certain=False, above=above)
                case ast.With(items=items, body=inner):
                    for item in items:
                        self._touch(item)
                    self._collect(inner, certain=certain, above=above)
                case ast.For() | ast.AsyncFor() | ast.While() | ast.Match() | ast.Delete() | ast.Expr():
                    self._touch(statement)
                case _ if type(statement).__name__ == "TypeAlias":  # PEP 695, where this Python knows it
                    self._define(statement.name.id, statement.value, certain=certain)  # type: ignore[attr-defined]

    def _define(self, name: str, node: Node, *, certain: bool) -> None:
        """The last definition counts; of those under conditions, the first."""
        if not certain and (name in self.definitions or name in self.imports):
            self._blur(name, imported=False)  # an import counts before what stands in for it
            return
        self.imports.pop(name, None)
        self.changed.discard(name)
        self.definitions[name] = node

    def _import(self, name: str, origin: tuple[str, str, int], *, certain: bool) -> None:
        if origin[1] == "*":
            self.stars.append((origin[0], origin[2]))
        elif certain or (name not in self.definitions and name not in self.imports):
            self.definitions.pop(name, None)
            self.changed.discard(name)
            self.imports[name] = origin

    def _assign(self, target: ast.expr, value: ast.expr, *, certain: bool) -> None:
        match target:
            case ast.Name(id=name):
                self._define(name, value, certain=certain)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if isinstance(value, (ast.Tuple, ast.List)):
                if len(parts) != len(value.elts):
                    self._touch(target)
                    return
                for part, own in zip(parts, value.elts, strict=True):
                    self._assign(part, own, certain=certain)
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                self._change(name, lambda old: ast.Dict(keys=[None, key], values=[old, value]), certain=certain)
            case _:
                self._touch(target)

    def _augment(self, name: str, op: ast.operator, value: ast.expr, *, certain: bool) -> None:
        self._change(name, lambda old: ast.BinOp(old, op, value), certain=certain)

    def _mutate(self, name: str, method: str, value: ast.expr, *, certain: bool) -> None:
        """`X.append(...)`, `X.extend(...)`, `X.insert(0, ...)` and `D.update(...)` as what they amount to."""
        if method == "append":
            self._change(name, lambda old: ast.BinOp(old, ast.Add(), ast.List(elts=[value])), certain=certain)
        elif method == "extend":
            self._change(name, lambda old: ast.BinOp(old, ast.Add(), value), certain=certain)
        elif method == "insert":
            self._change(name, lambda old: ast.BinOp(ast.List(elts=[value]), ast.Add(), old), certain=certain)
        elif method == "update":
            self._change(name, lambda old: ast.Dict(keys=[None, None], values=[old, value]), certain=certain)

    def _change(self, name: str, changed: Callable[[ast.expr], ast.expr], *, certain: bool) -> None:
        old = self.definitions.get(name)
        if isinstance(old, ast.expr):
            new = ast.copy_location(changed(old), old)
            self.definitions[name] = new
            if certain and id(old) not in self.unclear:
                return
        self._blur(name)

    def _touch(self, node: ast.AST) -> None:
        """What the node changes, as a loop does, or `.pop()`, is not known from here on."""
        waiting = [node]
        while waiting:
            inner = waiting.pop()
            match inner:
                case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                    self._blur(name)
                case ast.Subscript(value=holder, ctx=ast.Store() | ast.Del()):
                    self._blur(_root(holder))
                case ast.Call(func=ast.Attribute(value=holder, attr=attr)) if attr in _CHANGES:
                    self._blur(_root(holder))
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                    continue  # its names are its own
                case ast.comprehension(iter=iterated, ifs=conditions):
                    waiting += [iterated, *conditions]
                    continue
            waiting += ast.iter_child_nodes(inner)

    def _blur(self, name: str, *, imported: bool = True) -> None:
        if name in self.definitions:
            value = self.definitions[name]
            self.unclear[id(value)] = value
        elif imported and name in self.imports:
            self.changed.add(name)


_UNDERSTOOD = frozenset({("append", 1), ("extend", 1), ("update", 1), ("insert", 2)})
"""Methods, with the number of their arguments, that are read as what they amount to."""
_CHANGES = frozenset(
    {"append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "add", "discard"}
)
"""Methods that change which values a list, dict or set has."""


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0


def _root(node: ast.expr) -> str:
    """`X` of `X["a"][0]`; empty if that is no name."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
