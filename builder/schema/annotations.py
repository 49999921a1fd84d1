"""Annotations taken apart: strings parsed, aliases followed, `Annotated` opened, unions flattened."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from builder.schema.source import Module, Problem

OPAQUE_HINT = "mark it opaque with `Annotated[{0}, cog.Opaque]`"
LISTS = frozenset({"list", "List"})
_MEMBERS = 200
"""Most steps that one annotation may take: an alias that leads to itself ends here."""


class Leaf(NamedTuple):
    """One of the types that an annotation allows, in the file that says so.

    `opaque`: its schema, where the annotation says that nothing is to be known of it.
    """

    node: ast.expr
    module: Module
    opaque: dict[str, Any] | None = None


class Around:
    """What a type stands in: how deep, within which models, and how many types one schema may still hold."""

    __slots__ = ("_left", "depth", "models")

    def __init__(self, *, models: tuple[ast.AST, ...] = (), depth: int = 20, left: list[int] | None = None) -> None:
        self.models = models
        self.depth = depth
        self._left = [5000] if left is None else left

    def into(self, leaf: Leaf, *, model: ast.AST | None = None) -> Around:
        """One step deeper; a `Problem` where that is too deep or too much."""
        self._left[0] -= 1
        if self._left[0] < 0 or self.depth <= 0:
            message = "the type is too large, nested too deeply, or refers to itself"
            raise Problem(message, module=leaf.module, node=leaf.node)
        models = self.models if model is None else (*self.models, model)
        return Around(models=models, depth=self.depth - 1, left=self._left)


def leaves(node: ast.expr, *, module: Module) -> tuple[list[Leaf], bool]:
    """The types that `X | Y`, `Union[X, Y]` or `Optional[X]` allow, aliases followed; and whether None is one."""
    found: list[Leaf] = []
    nullable = False
    waiting = [(node, module)]
    for _ in range(_MEMBERS):
        if not waiting:
            return found, nullable
        part, where = waiting.pop(0)
        part = unquoted(part, module=where)
        match part:
            case ast.Constant(value=None):
                nullable = True
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                waiting[:0] = [(left, where), (right, where)]
            case ast.Subscript(value=value) if (name := where.final(value)) in {"Union", "Optional"}:
                waiting[:0] = [(argument, where) for argument in arguments(part)]
                nullable = nullable or name == "Optional"
            case ast.Subscript(value=value) if where.final(value) == "Annotated":  # and opaque: `unquoted` left it
                leaf, null = _opaque(part, module=where)
                found.append(leaf)
                nullable = nullable or null
            case ast.Name() | ast.Attribute():
                definition = where.definition(part)
                if definition is not None and isinstance(definition.node, ast.expr):
                    waiting.insert(0, (_new_type(definition.node, module=definition.module), definition.module))
                else:
                    found.append(Leaf(part, where))
            case _:
                found.append(Leaf(part, where))
    raise Problem("the type is too large, or refers to itself", module=module, node=node)


def unquoted(node: ast.expr, *, module: Module) -> ast.expr:
    """The annotation itself: strings parsed, `Annotated[T, ...]` opened unless it says that T is opaque."""
    for _ in range(_MEMBERS):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = _parsed(node, module=module)
        elif isinstance(node, ast.Subscript) and module.final(node.value) == "Annotated":
            kind, *notes = arguments(node)
            called = [note.func if isinstance(note, ast.Call) else note for note in notes]
            if any(module.resolve(note) in {"cog.Opaque", "Opaque"} for note in called):
                return node
            node = kind
        else:
            return node
    raise Problem("the type is nested too deeply", module=module, node=node)


def _parsed(node: ast.Constant, *, module: Module) -> ast.expr:
    try:
        parsed = ast.parse(str(node.value).strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as problem:
        message = f"the annotation {node.value!r} is not Python"
        raise Problem(message, module=module, node=node, hint="write a type, such as `str`") from problem
    for part in ast.walk(parsed):
        ast.copy_location(part, node)
    return parsed


def _opaque(node: ast.Subscript, *, module: Module) -> tuple[Leaf, bool]:
    """`Annotated[T, Opaque]`: an object, or a list of objects if T is a list."""
    inner, nullable = leaves(arguments(node)[0], module=module)
    whole = [leaf for leaf in inner if final(leaf) in LISTS or (leaf.opaque or {}).get("type") == "array"]
    schema: dict[str, Any] = {"type": "object"}
    if len(inner) == 1 and whole:
        schema = {"type": "array", "items": {"type": "object"}}
    return Leaf(node, module, schema), nullable


def _new_type(node: ast.expr, *, module: Module) -> ast.expr:
    """`T` of `NewType("Name", T)`; other aliases as they are."""
    if isinstance(node, ast.Call) and module.final(node.func) == "NewType" and len(node.args) == 2:
        return node.args[1]
    return node


def final(leaf: Leaf) -> str:
    """The last part of the name of a type, without its arguments."""
    node = leaf.node.value if isinstance(leaf.node, ast.Subscript) else leaf.node
    return leaf.module.final(node)


def arguments(node: ast.Subscript) -> list[ast.expr]:
    """`X` and `Y` of `T[X, Y]`."""
    return node.slice.elts if isinstance(node.slice, ast.Tuple) and node.slice.elts else [node.slice]


def only(leaf: Leaf) -> ast.expr:
    """The one argument of `T[X]`; a `Problem` if there are more."""
    assert isinstance(leaf.node, ast.Subscript)
    given = arguments(leaf.node)
    if len(given) != 1:
        name = written(leaf.node.value)
        raise Problem(f"{name} expects exactly 1 type argument, got {len(given)}", module=leaf.module, node=leaf.node)
    return given[0]


def written(node: ast.expr) -> str:
    """The source of an expression, for a message."""
    try:
        text = ast.unparse(node)
    except (ValueError, RecursionError):  # an integer too long to be written in decimal; nested too deeply
        return "..."
    return text if len(text) <= 80 else text[:77] + "..."


def unknown(leaf: Leaf, *, output: bool, hint: str) -> Problem:
    """What to say of a type that the source does not tell of; `hint` says which types there are."""
    name = written(leaf.node)
    origin = leaf.module.imported_from(leaf.node)
    if origin:
        message = (
            f"cannot resolve type '{name}' (imported from '{origin}') - external types cannot be statically analyzed."
            f" If this is a JSON-shaped third-party type, {OPAQUE_HINT.format(name)}"
            + (", or describe it as a `BaseModel` in the project" if output else "")
        )
        return Problem(message, module=leaf.module, node=leaf.node, hint=hint)
    if not output:
        return Problem(f"unsupported type: {name}", module=leaf.module, node=leaf.node, hint=hint)
    message = (
        f"cannot resolve type '{name}' - it is not a primitive type (str, int, float, bool, Path)"
        " and no BaseModel definition was found in the project"
    )
    return Problem(message, module=leaf.module, node=leaf.node, hint=hint)
