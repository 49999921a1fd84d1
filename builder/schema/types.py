"""Annotations of inputs and outputs → types that a schema can be written of."""

from __future__ import annotations

import ast
import dataclasses
from typing import TypeAlias

from builder.schema.source import Definition, Module, Problem


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One of `str int float bool Path File Secret object`."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A JSON array."""

    item: Type


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DictOf:
    """A JSON object with any keys and values of one type."""

    value: Type


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a model."""

    name: str
    type: Type
    nullable: bool
    required: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A class whose instances are JSON objects."""

    fields: tuple[Field, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UnionOf:
    """One of several types."""

    items: tuple[Type, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IteratorOf:
    """A stream of values; `concatenate` if they are pieces of one text."""

    item: Type
    concatenate: bool = False


Type: TypeAlias = Scalar | ListOf | DictOf | Model | UnionOf | IteratorOf

OBJECT = Scalar(name="object")
STRING = Scalar(name="str")

_SCALARS = {
    **{name: Scalar(name=name) for name in ("str", "int", "float", "bool", "Path", "File", "Secret")},
    "PathLike": Scalar(name="Path"),
    "URLPath": Scalar(name="Path"),
    "Any": OBJECT,
    "dict": OBJECT,
    "Dict": OBJECT,
}
_LISTS = {"list", "List"}
_DICTS = {"dict", "Dict"}
_ITERATORS = {"Iterator", "AsyncIterator", "Generator", "AsyncGenerator", "Iterable", "AsyncIterable"}
_CONCATENATES = {"ConcatenateIterator", "AsyncConcatenateIterator"}
_MODEL_BASES = {"BaseModel", "TypedDict", "NamedTuple"}
_OPAQUE_HINT = "mark it opaque with `Annotated[..., cog.Opaque]`"


def input_type(node: ast.expr, *, module: Module) -> tuple[Type, bool]:
    """The type of a parameter, and whether it may be null."""
    node = unquoted(node, module=module)
    items, nullable = _alternatives(node, module=module)
    if len(items) == 1:
        return _input(items[0], module=module), nullable
    types = []
    for item in items:
        kind = _input(item, module=module)
        if isinstance(kind, Scalar) and kind.name in {"Path", "File", "Secret"}:
            raise Problem(f"{kind.name} is not supported in union inputs", module=module, node=item)
        if isinstance(kind, UnionOf):
            raise Problem("nested union inputs are not supported", module=module, node=item)
        types.append(kind)
    return UnionOf(items=tuple(types)), nullable


def output_type(node: ast.expr, *, module: Module) -> Type:
    """The type of what a runner returns or yields."""
    node = unquoted(node, module=module)
    if isinstance(node, ast.Subscript):
        name = module.final(node.value)
        if name in _CONCATENATES:
            inner = _arguments(node)[0]
            if module.final(unquoted(inner, module=module)) != "str":
                got = ast.unparse(inner)
                raise Problem(f"{name} element type must be str, got {got}", module=module, node=inner)
            return IteratorOf(item=STRING, concatenate=True)
        if name in _ITERATORS:
            return IteratorOf(item=_output(_arguments(node)[0], module=module, seen=()))
    elif module.final(node) in _CONCATENATES:
        return IteratorOf(item=STRING, concatenate=True)
    return _output(node, module=module, seen=())


def unquoted(node: ast.expr, *, module: Module) -> ast.expr:
    """The annotation itself: strings parsed, `Annotated[T, ...]` opened unless it says that T is opaque."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            parsed = ast.parse(node.value, mode="eval").body
        except SyntaxError as problem:
            raise Problem(f"the annotation {node.value!r} is not Python", module=module, node=node) from problem
        for part in ast.walk(parsed):
            ast.copy_location(part, node)
        return unquoted(parsed, module=module)
    if isinstance(node, ast.Subscript) and module.final(node.value) == "Annotated":
        kind, *notes = _arguments(node)
        if any(module.final(note.func if isinstance(note, ast.Call) else note) == "Opaque" for note in notes):
            return ast.copy_location(ast.Name(id="dict"), node)
        return unquoted(kind, module=module)
    return node


def _alternatives(node: ast.expr, *, module: Module) -> tuple[list[ast.expr], bool]:
    """The members of `X | Y`, `Union[X, Y]` or `Optional[X]` without None, and whether None was one."""
    members: list[ast.expr]
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            members = [left, right]
        case ast.Subscript(value=value) if module.final(value) == "Union":
            members = _arguments(node)
        case ast.Subscript(value=value) if module.final(value) == "Optional":
            items, _ = _alternatives(unquoted(_arguments(node)[0], module=module), module=module)
            return items, True
        case _:
            is_none = isinstance(node, ast.Constant) and node.value is None
            return ([], True) if is_none else ([node], False)
    found = [_alternatives(unquoted(member, module=module), module=module) for member in members]
    return [item for items, _ in found for item in items], any(null for _, null in found)


def _input(node: ast.expr, *, module: Module) -> Type:
    node = unquoted(node, module=module)
    if isinstance(node, ast.Subscript):
        name = module.final(node.value)
        if name in _LISTS:
            inner = unquoted(_arguments(node)[0], module=module)
            items, nullable = _alternatives(inner, module=module)
            if (
                nullable
                or len(items) != 1
                or (isinstance(inner, ast.Subscript) and module.final(inner.value) in _LISTS)
            ):
                written = ast.unparse(node)
                raise Problem(f"nested generics like {written} are not supported", module=module, node=node)
            return ListOf(item=_input(inner, module=module))
        if name in _DICTS:
            return OBJECT
        raise Problem(f"{name or ast.unparse(node.value)}[...] is not a supported input type", module=module, node=node)
    name = module.final(node)
    definition = module.definition(node)
    if definition is None:
        if name in _SCALARS:
            return _SCALARS[name]
        if name in _LISTS:
            return ListOf(item=OBJECT)
    elif isinstance(definition.node, ast.ClassDef):
        if any(base in {"TypedDict"} for base in _base_names(definition)):
            return OBJECT
    elif isinstance(definition.node, ast.expr):
        kind, nullable = input_type(definition.node, module=definition.module)
        if not nullable:
            return kind
    raise _unknown(node, module=module)


def _output(node: ast.expr, *, module: Module, seen: tuple[ast.AST, ...]) -> Type:
    node = unquoted(node, module=module)
    items, nullable = _alternatives(node, module=module)
    if nullable and items:
        raise Problem("unsupported output type: Optional is not allowed as a return type", module=module, node=node)
    if len(items) > 1:
        raise Problem("union types are not supported as output", module=module, node=node)
    if isinstance(node, ast.Subscript):
        name = module.final(node.value)
        arguments = _arguments(node)
        if name in _LISTS:
            return ListOf(item=_output(arguments[0], module=module, seen=seen))
        if name in _DICTS and len(arguments) == 2:
            return DictOf(value=_output(arguments[1], module=module, seen=seen))
        raise Problem(f"unsupported output type: {ast.unparse(node)}", module=module, node=node)
    definition = module.definition(node)
    if definition is not None and isinstance(definition.node, ast.ClassDef):
        if definition.node in seen:
            return OBJECT  # a model within itself
        return _model(definition, node=node, module=module, seen=(*seen, definition.node))
    if definition is not None and isinstance(definition.node, ast.expr):
        return _output(definition.node, module=definition.module, seen=(*seen, definition.node))
    name = module.final(node)
    if name in _SCALARS:
        return _SCALARS[name]
    if name in _LISTS:
        return ListOf(item=OBJECT)
    raise _unknown(node, module=module)


def _model(definition: Definition, *, node: ast.expr, module: Module, seen: tuple[ast.AST, ...]) -> Type:
    if not _is_model(definition):
        raise Problem(
            f"unsupported output type: {ast.unparse(node)} is neither a BaseModel, a TypedDict nor a dataclass",
            module=module,
            node=node,
        )
    fields: dict[str, Field] = {}
    for owner in reversed(lineage(definition)):
        assert isinstance(owner.node, ast.ClassDef)
        for statement in owner.node.body:
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            name = statement.target.id
            annotation = unquoted(statement.annotation, module=owner.module)
            if isinstance(annotation, ast.Subscript) and owner.module.final(annotation.value) == "ClassVar":
                continue
            items, nullable = _alternatives(annotation, module=owner.module)
            if len(items) != 1:
                raise Problem("union types are not supported as output", module=owner.module, node=annotation)
            kind = _output(items[0], module=owner.module, seen=seen)
            required = statement.value is None and not nullable
            fields[name] = Field(name=name, type=kind, nullable=nullable, required=required)
    return Model(fields=tuple(fields.values()))


def _is_model(definition: Definition) -> bool:
    if _MODEL_BASES & set(_base_names(definition)):
        return True
    for owner in lineage(definition):
        assert isinstance(owner.node, ast.ClassDef)
        for decorator in owner.node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if owner.module.final(called) == "dataclass":
                return True
    return False


def lineage(definition: Definition) -> list[Definition]:
    """A class and those of its bases that are in the project, the class first, each once."""
    found: list[Definition] = []
    waiting = [definition]
    while waiting:
        owner = waiting.pop(0)
        if not isinstance(owner.node, ast.ClassDef) or any(owner.node is known.node for known in found):
            continue
        found.append(owner)
        bases = (owner.module.definition(base) for base in owner.node.bases)
        waiting = [base for base in bases if base is not None] + waiting
    return found


def _base_names(definition: Definition) -> list[str]:
    names = []
    for owner in lineage(definition):
        assert isinstance(owner.node, ast.ClassDef)
        names += [owner.module.final(base) for base in owner.node.bases]
    return names


def _arguments(node: ast.expr) -> list[ast.expr]:
    assert isinstance(node, ast.Subscript)
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _unknown(node: ast.expr, *, module: Module) -> Problem:
    name = ast.unparse(node)
    origin = module.imported_from(node)
    if origin:
        message = (
            f"cannot resolve type '{name}' (imported from '{origin}') - external types cannot be statically analyzed."
            f" If this is a JSON-shaped third-party type, {_OPAQUE_HINT}"
        )
        return Problem(message, module=module, node=node)
    if name == "None":
        return Problem(
            "cannot resolve type 'None' - it is not a primitive type; say what the runner returns",
            module=module,
            node=node,
        )
    return Problem(f"unsupported type: {name}", module=module, node=node)
