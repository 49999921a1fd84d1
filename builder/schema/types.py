"""Annotations of inputs and outputs → JSON schemas, in the shapes that Cog's clients expect."""

from __future__ import annotations

import ast
from typing import Any, TypeAlias

from builder.schema.annotations import (
    LISTS,
    OPAQUE_HINT,
    Around,
    Leaf,
    arguments,
    final,
    leaves,
    only,
    unknown,
    written,
)
from builder.schema.literals import enumeration, known
from builder.schema.source import Definition, Module, Problem
from builder.schema.values import UNKNOWN

Schema: TypeAlias = dict[str, Any]

_SCALARS: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Path": {"type": "string", "format": "uri"},
    "PathLike": {"type": "string", "format": "uri"},
    "URLPath": {"type": "string", "format": "uri"},
    "File": {"type": "string", "format": "uri"},
    "Secret": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
    "Any": {"type": "object"},
    "dict": {"type": "object"},
    "Dict": {"type": "object"},
}
_DICTS = frozenset({"dict", "Dict"})
_ITERATORS = frozenset({"Iterator", "AsyncIterator", "Generator", "AsyncGenerator", "Iterable", "AsyncIterable"})
_CONCATENATES = frozenset({"ConcatenateIterator", "AsyncConcatenateIterator"})
_OUTPUT_HINT = "outputs are str, int, float, bool, Path, dict, a `BaseModel`, or lists and iterators of these"
_INPUT_HINT = "inputs are str, int, float, bool, Path, Secret, dict, a list of these, Optional or a union of these"


def input_type(node: ast.expr, *, module: Module, around: Around | None = None) -> tuple[Schema, bool]:
    """The schema of a parameter, and whether it may be null."""
    found, nullable = leaves(node, module=module)
    if not found:
        message = "union inputs must include at least one non-None type"
        raise Problem(message, module=module, node=node, hint=_INPUT_HINT)
    around = around or Around()
    made = [(_input(leaf, around=around.into(leaf)), leaf) for leaf in found]
    if len(made) == 1:
        return made[0][0], nullable
    for schema, leaf in made:
        forbidden = _file_within(schema)
        if forbidden:
            name = "File" if final(leaf) == "File" else forbidden
            raise Problem(
                f"{name} is not supported in union inputs",
                module=leaf.module,
                node=leaf.node,
                hint="give the file and the other value an input each, both Optional",
            )
    return {"anyOf": [schema for schema, _ in made]}, nullable


def _input(leaf: Leaf, *, around: Around) -> Schema:
    if leaf.opaque is not None:
        return leaf.opaque
    name, module = final(leaf), leaf.module
    if isinstance(leaf.node, ast.Subscript):
        if name in LISTS:
            return _input_list(leaf, around=around)
        if name in _DICTS:
            return dict(_SCALARS["dict"])
        if name == "Literal":
            return _literal(leaf)
        kind = name or written(leaf.node.value)
        raise Problem(f"{kind}[...] is not a supported input type", module=module, node=leaf.node, hint=_INPUT_HINT)
    if name in _SCALARS:
        return dict(_SCALARS[name])
    if name in LISTS:
        return {"type": "array", "items": {}}
    if isinstance(leaf.node, ast.Call) and module.final(leaf.node.func) == "TypedDict":
        return dict(_SCALARS["dict"])
    definition = module.definition(leaf.node)
    if definition is None or not isinstance(definition.node, ast.ClassDef):
        raise unknown(leaf, output=False, hint=_INPUT_HINT)
    from builder.schema.models import base_kind  # many models have no classes of this kind

    if base_kind(definition) == "TypedDict":
        return dict(_SCALARS["dict"])
    written_name = written(leaf.node)
    raise Problem(
        f"unsupported type: {written_name}",
        module=module,
        node=leaf.node,
        hint=_enum_hint(definition, name=written_name)
        or f"take a `dict` and make the {written_name} of it in the method, or " + OPAQUE_HINT.format(written_name),
    )


def _enum_hint(definition: Definition, *, name: str) -> str:
    """What to write for an `Enum`; empty if it is no such class."""
    members = enumeration(definition)
    if not members:
        return ""
    values = [known(value.node, module=value.module) for value in members.values() if isinstance(value.node, ast.expr)]
    kinds = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
    kind = kinds.get(enum_type(values) or "")
    if kind is None:
        return f'write the values of {name}, as in `str` with `choices=["a", "b"]`'
    return f"write `{kind}` with `choices=[e.value for e in {name}]`, and make the {name} of it in the method"


def _input_list(leaf: Leaf, *, around: Around) -> Schema:
    inner, nullable = input_type(only(leaf), module=leaf.module, around=around)
    nested = nullable or "anyOf" in inner or inner.get("type") == "array"
    if nested and _file_within(inner):
        text = written(leaf.node)
        hint = "files can be a list, but not a list in a list or one with None"
        raise Problem(f"nested generics like {text} are not supported", module=leaf.module, node=leaf.node, hint=hint)
    return {"type": "array", "items": {**inner, "nullable": True} if nullable else inner}


def _file_within(schema: Schema) -> str:
    """`Path` or `Secret` if values of the schema hold such a thing; else empty."""
    if "format" in schema:
        return "Secret" if schema["format"] == "password" else "Path"
    parts = [schema["items"]] if "items" in schema else schema.get("anyOf", [])
    return next((name for part in parts if (name := _file_within(part))), "")


def _literal(leaf: Leaf) -> Schema:
    """`Literal["a", "b"]`: one of the values, all of one type."""
    assert isinstance(leaf.node, ast.Subscript)
    values = [known(part, module=leaf.module) for part in arguments(leaf.node)]
    kind = enum_type(values)
    if kind is None:
        message = f"{written(leaf.node)} is not supported: its values must be all texts, all numbers or all booleans"
        raise Problem(message, module=leaf.module, node=leaf.node)
    return {"type": kind, "enum": values}


def enum_type(values: list[Any]) -> str | None:
    """The JSON type that all of the values have; None if there is none."""
    if any(value is UNKNOWN for value in values):
        return None
    kinds = {type(value) for value in values if value is not None}
    names: dict[frozenset[type], str] = {
        frozenset({str}): "string",
        frozenset({int}): "integer",
        frozenset({float}): "number",
        frozenset({int, float}): "number",
        frozenset({bool}): "boolean",
    }
    return names.get(frozenset(kinds))


def output_type(node: ast.expr, *, module: Module) -> Schema:
    """The schema of what a runner returns or yields."""
    found, nullable = leaves(node, module=module)
    if nullable and not found:
        return {"type": "object", "nullable": True}  # `-> None`: OpenAPI 3.0 has no type of null alone
    if len(found) == 1 and not nullable:
        leaf = found[0]
        name = final(leaf) if leaf.opaque is None else ""
        if name in _CONCATENATES:
            return _concatenated(leaf, name=name)
        if name in _ITERATORS and isinstance(leaf.node, ast.Subscript):
            items = _output(arguments(leaf.node)[0], module=leaf.module, around=Around())
            return {"type": "array", "items": items, "x-cog-array-type": "iterator"}
    return _output(node, module=module, around=Around())


def _concatenated(leaf: Leaf, *, name: str) -> Schema:
    if isinstance(leaf.node, ast.Subscript):
        inner = only(leaf)
        items, nullable = leaves(inner, module=leaf.module)
        if nullable or len(items) != 1 or isinstance(items[0].node, ast.Subscript) or final(items[0]) != "str":
            raise Problem(
                f"{name} element type must be str, got {written(inner)}",
                module=leaf.module,
                node=inner,
                hint="write `Iterator[...]` for a stream of other values",
            )
    return {
        "type": "array",
        "items": {"type": "string"},
        "x-cog-array-type": "iterator",
        "x-cog-array-display": "concatenate",
    }


def field_type(node: ast.expr, *, module: Module, around: Around) -> tuple[Schema, bool]:
    """The schema of a field of a model that is returned, and whether it may be null."""
    found, nullable = leaves(node, module=module)
    if len(found) != 1:
        raise Problem("union types are not supported as output", module=module, node=node, hint=_UNION_HINT)
    return _output_leaf(found[0], around=around), nullable


_UNION_HINT = "return a `BaseModel` with an Optional field for each, or `dict`"


def _output(node: ast.expr, *, module: Module, around: Around) -> Schema:
    found, nullable = leaves(node, module=module)
    if nullable and len(found) == 1:
        raise Problem(
            "unsupported output type: Optional is not allowed as a return type",
            module=module,
            node=node,
            hint="return a `BaseModel` with an Optional field, or raise an error where there is no result",
        )
    if len(found) != 1:
        raise Problem("union types are not supported as output", module=module, node=node, hint=_UNION_HINT)
    return _output_leaf(found[0], around=around)


def _output_leaf(leaf: Leaf, *, around: Around) -> Schema:
    if leaf.opaque is not None:
        return leaf.opaque
    name, module = final(leaf), leaf.module
    holder = leaf.node.value if isinstance(leaf.node, ast.Subscript) else leaf.node
    definition = module.definition(holder)
    if definition is not None and isinstance(definition.node, ast.ClassDef):
        from builder.schema.models import model

        if definition.node in around.models:
            return {"type": "object"}  # a model within itself
        return model(definition, leaf=leaf, around=around.into(leaf, model=definition.node), field_type=field_type)
    around = around.into(leaf)
    if isinstance(leaf.node, ast.Subscript):
        if name in LISTS:
            return {"type": "array", "items": _output(only(leaf), module=module, around=around)}
        if name in _DICTS and len(arguments(leaf.node)) == 2:
            value = _output(arguments(leaf.node)[1], module=module, around=around)
            return {"type": "object", "additionalProperties": value}
        if name == "Literal":
            return _literal(leaf)
        kind = name or written(leaf.node.value)
        message = f"unsupported output type: {kind}[...] is not a supported output type"
        raise Problem(message, module=module, node=leaf.node, hint=_OUTPUT_HINT)
    if name in _SCALARS:
        return dict(_SCALARS[name])
    if name in LISTS:
        return {"type": "array", "items": {"type": "object"}}
    from builder.schema.models import functional

    typed_dict = functional(leaf, around=around, field_type=field_type)
    if typed_dict is not None:
        return typed_dict
    raise unknown(leaf, output=True, hint=_OUTPUT_HINT)
