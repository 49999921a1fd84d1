"""The parameters of a runner → its inputs: annotation, default and what `Input(...)` says."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from builder.schema.annotations import written
from builder.schema.check import mismatch
from builder.schema.literals import known, unpacked
from builder.schema.names import Function
from builder.schema.source import FUNCTIONS, Definition, Module, Problem, statements
from builder.schema.types import enum_type, input_type
from builder.schema.values import UNKNOWN, plain

_LIMITS = {"ge": "minimum", "le": "maximum", "min_length": "minLength", "max_length": "maxLength", "regex": "pattern"}
_DEPTH = 10


class Input(NamedTuple):
    """A parameter.

    `required`: a request must give it.  `has_default`: `default` (a JSON value) is known.  An input is neither where
    only running the code would tell its default, or where that is None and the type has no None.
    """

    name: str
    schema: dict[str, Any]
    nullable: bool
    required: bool
    has_default: bool = False
    default: Any = None
    description: str | None = None
    choices: list[Any] | None = None
    """Values of one input; those of each member of a list are in `schema`."""
    limits: Mapping[str, Any] = {}
    """`minimum maximum minLength maxLength pattern`."""
    deprecated: bool = False
    accept: str | None = None


class Given(NamedTuple):
    """One argument of `Input(...)`: its value, or `UNKNOWN`, and where it is written."""

    value: Any
    module: Module
    node: ast.AST


class _Call(NamedTuple):
    call: ast.Call
    module: Module
    names: Mapping[str, Any]


def parameters(function: Function, *, is_method: bool, module: Module) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """The parameters with their defaults, without `self`; `*args` and `**kwargs` take no inputs."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    pairs = list(zip(positional, defaults, strict=True))
    static = any(module.final(decorator) == "staticmethod" for decorator in function.decorator_list)
    yield from pairs[1:] if is_method and not static else pairs
    yield from zip(given.kwonlyargs, given.kw_defaults, strict=True)


def read_input(parameter: ast.arg, default: ast.expr | None, *, module: Module, function: str) -> Input:
    """One parameter as an input; a `Problem` if the source does not say what it takes."""
    name = parameter.arg
    if parameter.annotation is None:
        raise Problem(
            f"parameter '{name}' on {function} has no type annotation",
            module=module,
            node=parameter,
            hint=f"write its type, such as `{name}: str`",
        )
    schema, nullable = input_type(parameter.annotation, module=module)
    if default is None:
        return build(name, schema, nullable=nullable, given={}, at=Given(UNKNOWN, module, parameter))
    found = _input_call(default, module=module, names={}, depth=_DEPTH)
    if found is None:
        value = known(default, module=module)
        if value is UNKNOWN:
            raise Problem(
                f"parameter '{name}': default `{written(default)}` cannot be statically resolved",
                module=module,
                node=default,
                hint=f"write the value itself, or make {name} Optional and choose the value in {function}()",
            )
        at = Given(value, module, default)
        return build(name, schema, nullable=nullable, given={"default": at}, at=at)
    given = dict(_arguments(found))
    return build(name, schema, nullable=nullable, given=given, at=Given(UNKNOWN, found.module, found.call))


def build(name: str, schema: dict[str, Any], *, nullable: bool, given: Mapping[str, Given], at: Given) -> Input:
    """An input from its type and what is said of it; a `Problem` where that contradicts itself."""
    if "default_factory" in given:
        raise _problem(
            f"parameter '{name}': default_factory is not supported in static schema generation",
            given["default_factory"],
            hint="write `default=...` with the value itself",
        )
    choices = _choices(name, given)
    limits = _limits(name, given)
    accept = _typed(given, "accept", str)
    if "anyOf" in schema and (choices or limits):
        text = "constraints and choices are not supported on union inputs"
        raise _problem(text, at, hint="give the input one type")
    if accept is not None and "uri" not in {schema.get("format"), schema.get("items", {}).get("format")}:
        raise _problem(f"accept is only valid on Path or File inputs (parameter '{name}')", given["accept"])
    if choices is not None and schema.get("type") == "array":
        schema = {**schema, "items": {**schema["items"], "enum": choices}}
        choices = None
    elif "enum" in schema:
        schema = dict(schema)
        values = schema.pop("enum")
        choices = choices or values
    if choices is not None and schema.get("type") == "object":  # `Any` is an object elsewhere
        kind = enum_type(choices)
        schema = {"type": kind} if kind else {}
    made = Input(
        name=name,
        schema=schema,
        nullable=nullable,
        required="anyOf" in schema or not nullable,
        description=_typed(given, "description", str),
        choices=plain(choices),
        limits=limits,
        deprecated=_typed(given, "deprecated", bool) is True,
        accept=accept,
    )
    if "default" not in given or given["default"].value is ...:
        return made
    value = given["default"].value
    if value is UNKNOWN:
        return made._replace(required=False)
    made = _with_default(made, plain(value))
    if made.has_default:
        _check(made, given["default"])
    return made


def _with_default(made: Input, value: Any) -> Input:
    """None where the type has no None: the input may be left out, as Cog documents; a Secret may be null as well."""
    secret = made.schema.get("format") == "password"
    if value is None and not made.nullable and not secret:
        return made._replace(required=False)
    return made._replace(nullable=made.nullable or value is None, required=False, has_default=True, default=value)


def _check(made: Input, given: Given) -> None:
    """A default must be a value that a request could give."""
    schema = {**made.schema, **made.limits, "nullable": made.nullable}
    if made.choices is not None:
        schema["enum"] = made.choices
    wrong = mismatch(made.default, schema)
    if wrong:
        shown = repr(made.default) if len(repr(made.default)) <= 80 else repr(made.default)[:77] + "..."
        raise _problem(
            f"parameter '{made.name}': the default `{shown}` {wrong}",
            given,
            hint="correct the default, or the type and limits of the input",
        )


def _choices(name: str, given: Mapping[str, Given]) -> list[Any] | None:
    if "choices" not in given:
        return None
    value = given["choices"].value
    if value is None:
        return None
    if isinstance(value, (list, dict)):
        return list(value) or None
    raise _problem(
        f"parameter '{name}': choices expression cannot be statically resolved",
        given["choices"],
        hint='write the values in the source: `choices=["a", "b"]`, or the name of such a list at the top of a file',
    )


def _limits(name: str, given: Mapping[str, Given]) -> dict[str, Any]:
    """What bounds an input; limits that only running the code would tell are left out, as upstream does."""
    made: dict[str, Any] = {}
    for key, keyword in _LIMITS.items():
        value = plain(given[key].value) if key in given else None
        if value is None or value is UNKNOWN:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits, wanted = {
            "ge": (number, "a number"),
            "le": (number, "a number"),
            "regex": (isinstance(value, str), "a str"),
        }.get(key, (number and isinstance(value, int) and value >= 0, "an int, and not negative"))
        if not fits:
            raise _problem(f"parameter '{name}': {key} must be {wanted}", given[key])
        made[keyword] = value
    return made


def _typed(given: Mapping[str, Given], key: str, kind: type) -> Any:
    value = given[key].value if key in given else None
    return value if isinstance(value, kind) else None


def _problem(message: str, given: Given, *, hint: str | None = None) -> Problem:
    return Problem(message, module=given.module, node=given.node, hint=hint)


def _arguments(found: _Call) -> Iterator[tuple[str, Given]]:
    """The arguments of `Input(...)`: the first one is the default, `**options` are opened."""
    call, module, names = found
    for argument in call.args[:1]:
        yield "default", Given(_value(argument, found), module, argument)
    for word in call.keywords:
        if word.arg:
            yield word.arg, Given(_value(word.value, found), module, word.value)
            continue
        options = unpacked(word.value, module=module, names=names)
        if options is None:  # there may be a default among them
            yield "default", Given(UNKNOWN, module, word.value)
        else:
            for key, value in options.items():
                yield str(key), Given(value, module, word.value)


def _value(node: ast.expr, found: _Call) -> Any:
    if isinstance(node, ast.Constant) and node.value is ...:
        return ...
    return known(node, module=found.module, names=found.names)


def _input_call(node: ast.expr, *, module: Module, names: Mapping[str, Any], depth: int) -> _Call | None:
    """`Input(...)` itself, or where a name, a class attribute or a function of the project gives it."""
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(node, ast.Call) and (
        module.final(node.func) == "Input" or (isinstance(node.func, ast.Name) and node.func.id == "Input")
    ):
        return _Call(node, module, names)
    definition = module.definition(called or node)
    if definition is None or depth <= 0:
        return None
    if isinstance(definition.node, FUNCTIONS) and isinstance(node, ast.Call):
        given = _bound(node, definition, module=module, names=names)
        for statement in statements(definition.node.body):
            if isinstance(statement, ast.Return) and statement.value is not None:
                found = _input_call(statement.value, module=definition.module, names=given, depth=depth - 1)
                if found is not None:
                    return found
    elif isinstance(definition.node, ast.Call) and called is None:
        return _input_call(definition.node, module=definition.module, names={}, depth=depth - 1)
    return None


def _bound(call: ast.Call, definition: Definition, *, module: Module, names: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a function of the project in one call of it; what is not known is `UNKNOWN`."""
    function, home = definition.node, definition.module
    assert isinstance(function, FUNCTIONS)
    is_class_method = any(home.final(decorator) == "classmethod" for decorator in function.decorator_list)
    pairs = list(parameters(function, is_method=is_class_method, module=home))
    made = {item.arg: known(default, module=home) if default else UNKNOWN for item, default in pairs}
    positional = [item.arg for item, _ in pairs if item not in function.args.kwonlyargs]
    for name, argument in zip(positional, call.args, strict=False):
        if isinstance(argument, ast.Starred):
            return dict.fromkeys(made, UNKNOWN)
        made[name] = known(argument, module=module, names=names)
    more: dict[str, Any] = {}
    for word in call.keywords:
        if word.arg is None:
            return dict.fromkeys(made, UNKNOWN)
        (made if word.arg in made else more)[word.arg] = known(word.value, module=module, names=names)
    if function.args.kwarg is not None:
        made[function.args.kwarg.arg] = more
    return made
