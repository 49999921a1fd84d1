"""Classes whose instances are JSON objects: cog's and pydantic's BaseModel, TypedDict, dataclasses, enumerations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from builder.schema.annotations import Around, Leaf, arguments, unquoted, written
from builder.schema.literals import enumeration, known
from builder.schema.source import Definition, Module, Problem, base_names, lineage, statements
from builder.schema.titles import Ordered, title

Kind: TypeAlias = Literal["BaseModel", "TypedDict", "dataclass", "NamedTuple", "Enum"]
_SKIPPED = frozenset({"ClassVar", "InitVar", "KW_ONLY"})
_MOST_FIELDS = 1000


class FieldType(Protocol):
    """`builder.schema.types.field_type`, handed in: a field may be a model again."""

    def __call__(self, node: ast.expr, *, module: Module, around: Around) -> tuple[dict[str, Any], bool]:
        """The schema, and whether it may be null."""


class _Field(NamedTuple):
    name: str
    annotation: ast.expr
    module: Module
    value: ast.expr | None
    always: bool | None
    """Whether the key must be there, where a TypedDict says so."""


def base_kind(definition: Definition) -> Kind | None:
    """What kind of class it is that JSON can be made of; None for any other."""
    names = base_names(definition)
    for kind in ("TypedDict", "NamedTuple", "BaseModel"):
        if kind in names:
            return kind
    if names & {"Enum", "StrEnum", "IntEnum"}:
        return "Enum"
    for owner in lineage(definition):
        assert isinstance(owner.node, ast.ClassDef)
        for decorator in owner.node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if owner.module.final(called) == "dataclass":
                return "dataclass"
    return None


def model(definition: Definition, *, leaf: Leaf, around: Around, field_type: FieldType) -> dict[str, Any]:
    """The schema of an instance; `leaf` is where it is named."""
    kind = base_kind(definition)
    if kind is None:
        name = written(leaf.node)
        raise Problem(
            f"unsupported output type: {name} is neither a BaseModel, a TypedDict nor a dataclass",
            module=leaf.module,
            node=leaf.node,
            hint=f"derive {name} from `cog.BaseModel`",
        )
    if kind == "Enum":
        return _enumeration(definition, leaf=leaf)
    if kind == "NamedTuple":
        return {"type": "array", "items": {}}  # JSON makes a list of it
    properties = Ordered()
    required = []
    for field in _fields(definition, kind=kind):
        schema, nullable = field_type(field.annotation, module=field.module, around=around)
        properties[field.name] = {**schema, "title": title(field.name)} | ({"nullable": True} if nullable else {})
        always = field.always if field.always is not None else not nullable and not _has_default(field)
        if always:
            required.append(field.name)
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _enumeration(definition: Definition, *, leaf: Leaf) -> dict[str, Any]:
    values = [
        known(member.node, module=member.module)
        for member in enumeration(definition).values()
        if isinstance(member.node, ast.expr)
    ]
    for kind, name in ((str, "string"), (int, "integer")):
        if values and all(type(value) is kind for value in values):
            return {"type": name, "enum": values}
    message = f"unsupported output type: the values of the enumeration {written(leaf.node)} are not all texts"
    raise Problem(message, module=leaf.module, node=leaf.node, hint="return `str`, and `.value` of the member")


def _fields(definition: Definition, *, kind: Kind) -> list[_Field]:
    """The fields, those of bases first; what a subclass says replaces what its base says."""
    found: dict[str, _Field] = {}
    order = lineage(definition)
    private = kind == "BaseModel" and any(map(_is_pydantic, order))
    for owner in reversed(order):
        assert isinstance(owner.node, ast.ClassDef)
        total = not any(
            word.arg == "total" and isinstance(word.value, ast.Constant) and word.value.value is False
            for word in owner.node.keywords
        )
        inner = _inside(owner)
        for name, annotation, value in _annotated(owner.node):
            opened = unquoted(annotation, module=inner)
            outer = inner.final(opened.value if isinstance(opened, ast.Subscript) else opened)
            if outer in _SKIPPED or (private and name.startswith("_")):
                continue
            always = total if kind == "TypedDict" else None
            while isinstance(opened, ast.Subscript) and outer in {"Required", "NotRequired", "ReadOnly", "Final"}:
                always = {"Required": True, "NotRequired": False}.get(outer, always)
                opened = unquoted(arguments(opened)[0], module=inner)
                outer = inner.final(opened.value) if isinstance(opened, ast.Subscript) else ""
            found[name] = _Field(name, opened, inner, value, always)
            if len(found) > _MOST_FIELDS:
                message = f"a model with more than {_MOST_FIELDS} fields"
                raise Problem(message, module=owner.module, node=annotation)
    return list(found.values())


def _inside(owner: Definition) -> Module:
    """Where annotations look for names: in the class, if it defines classes."""
    assert isinstance(owner.node, ast.ClassDef)
    nested = any(isinstance(statement, ast.ClassDef) for statement in owner.node.body)
    return owner.module.within(owner.node) if nested else owner.module


def functional(leaf: Leaf, *, around: Around, field_type: FieldType) -> dict[str, Any] | None:
    """The schema of `TypedDict("Name", {"a": int})`; None for any other call."""
    node = leaf.node
    if not isinstance(node, ast.Call) or leaf.module.final(node.func) != "TypedDict" or len(node.args) != 2:
        return None
    if not isinstance(node.args[1], ast.Dict):
        return {"type": "object"}
    body: list[ast.stmt] = []
    for key, value in zip(node.args[1].keys, node.args[1].values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            body.append(ast.AnnAssign(target=ast.Name(id=key.value), annotation=value, simple=1))
    whole = ast.ClassDef(name="", bases=[node.func], keywords=node.keywords, body=body, decorator_list=[])
    return model(Definition(leaf.module, whole), leaf=leaf, around=around, field_type=field_type)


def _is_pydantic(definition: Definition) -> bool:
    assert isinstance(definition.node, ast.ClassDef)
    return any(definition.module.imported_from(base).startswith("pydantic") for base in definition.node.bases)


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    for statement in statements(node.body):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                yield name, annotation, value


def _has_default(field: _Field) -> bool:
    """Whether a field may be left out: `= 1`, `= Field(default=1)`, `= field(default_factory=list)`."""
    value = field.value
    if value is None or (isinstance(value, ast.Constant) and value.value is ...):
        return False
    if isinstance(value, ast.Call) and field.module.final(value.func) in {"Field", "field", "Input"}:
        first = value.args[:1] + [word.value for word in value.keywords if word.arg == "default"]
        given = [part for part in first if not (isinstance(part, ast.Constant) and part.value is ...)]
        return bool(given) or any(word.arg in {"default_factory", "factory"} for word in value.keywords)
    return True
