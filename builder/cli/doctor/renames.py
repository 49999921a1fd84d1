"""A runner's source with today's names: the class, its base class and its method, exactly where Python has them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeAlias

from builder.cli.doctor.sources import MisplacedError, Source

NAMES = {"BasePredictor": "BaseRunner", "Predictor": "Runner"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BASES = frozenset({"BasePredictor", "BaseRunner", "cog.BasePredictor", "cog.BaseRunner", "object"})
_Edits: TypeAlias = "set[tuple[int, int, str, str]]"
"""Line from 0, column, old, new."""


def rename(source: Source, *, name: str) -> str:
    """Edit the lines of the file that defines `name`; the name that it has then.

    The method stays `predict`, which works as well, where more than this class may call it by that name.
    """
    new_name = NAMES.get(name, name)
    if new_name != name and new_name in _bound(source.tree):
        new_name = name
    before = list(source.lines)
    try:
        for edit in sorted(_edits(source, name, new_name), reverse=True):
            source.replace(*edit)
    except MisplacedError:
        source.lines = before
        return name
    return new_name


def _edits(source: Source, name: str, new_name: str) -> _Edits:
    edits: _Edits = set()
    old_base = "BasePredictor" if _bound(source.tree).count("BasePredictor") == 1 else ""  # not a stand-in for it

    def defined(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, new: str) -> None:
        column = source.lines[node.lineno - 1].find(node.name.encode(), node.col_offset + len("def "))
        edits.add((node.lineno - 1, column, node.name, new))

    def attribute(node: ast.Attribute, new: str) -> None:
        column = (node.end_col_offset or 0) - len(node.attr.encode())
        edits.add(((node.end_lineno or node.lineno) - 1, column, node.attr, new))

    from_cog = False
    for node in ast.walk(source.tree):
        match node:
            case ast.ImportFrom(module="cog", level=0):
                for alias in node.names:
                    if alias.name == "BasePredictor" and (alias.asname or old_base):
                        from_cog = from_cog or not alias.asname
                        edits.add((alias.lineno - 1, alias.col_offset, alias.name, NAMES[alias.name]))
            case ast.Attribute(value=ast.Name(id="cog"), attr="BasePredictor"):
                attribute(node, NAMES[node.attr])
    for node in ast.walk(source.tree):
        match node:
            case ast.Name(id=used) if used == name or (from_cog and used == "BasePredictor"):
                edits.add((node.lineno - 1, node.col_offset, used, new_name if used == name else NAMES[used]))
            case ast.ClassDef() if node.name == name:
                defined(node, new_name)
    classes = [node for node in source.tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    if len(classes) == 1 and _may_rename_method(classes[0], source.tree):
        for method in classes[0].body:
            if isinstance(method, _FUNCTIONS) and method.name == "predict":
                defined(method, "run")
        for used_at in _calls(classes[0], source.tree):
            attribute(used_at, "run")
    return edits


def _may_rename_method(runner: ast.ClassDef, tree: ast.Module) -> bool:
    """Whether the class has `predict` itself, for itself alone, and no `run` beside it."""
    own = [node.name for node in runner.body if isinstance(node, _FUNCTIONS)]
    taken = any(
        isinstance(node, ast.Attribute) and node.attr == "run" and isinstance(node.value, ast.Name)
        and node.value.id in {"self", "cls"}
        for node in _inside(runner)
    )  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == runner.name for base in node.bases):
            return False
    looked_up = any(
        isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"getattr", "hasattr", "setattr"}
        and len(node.args) > 1 and getattr(node.args[1], "value", None) == "predict"
        for node in ast.walk(tree)
    )  # fmt: skip
    bare = all(ast.unparse(base) in _BASES for base in runner.bases)  # another base may have `predict` as well
    return own.count("predict") == 1 and "run" not in own and bare and not taken and not looked_up


def _calls(runner: ast.ClassDef, tree: ast.Module) -> Iterator[ast.Attribute]:
    """`self.predict` in the class; `Predictor.predict`, `Predictor().predict` and that of a name for one, anywhere."""
    instances = {runner.name}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=bound)], value=ast.Call(func=ast.Name(id=runner.name))):
                instances.add(bound)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="predict", value=ast.Name(id=owner)) if owner in instances:
                yield node
            case ast.Attribute(attr="predict", value=ast.Call(func=ast.Name(id=runner.name))):
                yield node
    for node in _inside(runner):
        match node:
            case ast.Attribute(attr="predict", value=ast.Name(id="self")):
                yield node


def _inside(runner: ast.ClassDef) -> Iterator[ast.AST]:
    """All of a class but the classes in it, whose `self` is another."""
    todo: list[ast.AST] = [*runner.body]
    while todo:
        node = todo.pop()
        if not isinstance(node, ast.ClassDef):
            yield node
            todo += ast.iter_child_nodes(node)


def _bound(tree: ast.Module) -> list[str]:
    """The names that something in the file binds, each as often as it does."""
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found.append(node.name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.append(name)
            case ast.alias():
                found.append(node.asname or node.name)
    return found
