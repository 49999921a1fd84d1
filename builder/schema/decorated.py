"""The oldest form of a model: inputs declared by stacked `@cog.input("name", type=...)`, and no return annotation."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from builder.schema.inputs import Given, Input, build
from builder.schema.literals import known
from builder.schema.names import Function
from builder.schema.source import Module, Problem
from builder.schema.types import input_type
from builder.schema.values import UNKNOWN

_POSITIONAL = ("name", "type", "default", "min", "max", "options", "help")
_TODAY = {"default": "default", "min": "ge", "max": "le", "options": "choices", "help": "description"}
_EXAMPLE = 'write it as `@cog.input("image", type=cog.Path, help="what to show")`'


def declared_input(call: ast.Call, *, module: Module) -> Input:
    """The input that one `@cog.input(...)` declares; a `Problem` if it does not say its name and type."""
    words = {word.arg: word.value for word in call.keywords if word.arg}
    words = dict(zip(_POSITIONAL, call.args, strict=False)) | words
    name = known(words["name"], module=module) if "name" in words else UNKNOWN
    if not isinstance(name, str) or not name.isidentifier():
        raise Problem("@cog.input needs the name of a parameter", module=module, node=call, hint=_EXAMPLE)
    if "type" not in words:
        raise Problem(f"@cog.input('{name}') has no type", module=module, node=call, hint=_EXAMPLE)
    schema, nullable = input_type(words["type"], module=module)
    given: Mapping[str, Given] = {
        today: Given(known(words[old], module=module), module, words[old])
        for old, today in _TODAY.items()
        if old in words
    }
    return build(name, schema, nullable=nullable, given=given, at=Given(UNKNOWN, module, call))


def undeclared(
    function: Function, *, pairs: Sequence[tuple[ast.arg, ast.expr | None]], names: set[str], module: Module
) -> list[Problem]:
    """The parameters that no `@cog.input` declares and that have no default either."""
    return [
        Problem(
            f"parameter '{parameter.arg}' on {function.name} has no @cog.input",
            module=module,
            node=parameter,
            hint=f'write `@cog.input("{parameter.arg}", type=str)` above the method',
        )
        for parameter, default in pairs
        if parameter.arg not in names and default is None
    ]


def returned_type(function: Function, *, module: Module) -> dict[str, Any]:
    """What a method without a return annotation gives back, where all its `return` say it; else any value."""
    paths: set[str] = set()
    found = []
    for node in _own_nodes(function):
        if isinstance(node, ast.Assign) and _kind(node.value, paths=paths, module=module) == "Path":
            paths |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Return) and node.value is not None:
            found.append(_kind(node.value, paths=paths, module=module))
    if found and set(found) == {"Path"}:
        return {"type": "string", "format": "uri"}
    return {"type": "string"} if found and set(found) == {"str"} else {}


def _own_nodes(function: Function) -> list[ast.AST]:
    """The statements of a function in the order of the source, those of functions inside it left out."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
            waiting += reversed(inner)
    return found


def _kind(node: ast.expr, *, paths: set[str], module: Module) -> str:
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr() | ast.Call(func=ast.Name(id="str")):
            return "str"
        case ast.Name(id=name) if name in paths:
            return "Path"
        case ast.Call(func=func) if module.final(func) == "Path":
            return "Path"
        case ast.BinOp(left=left, op=ast.Div()):
            return _kind(left, paths=paths, module=module)
    return ""
