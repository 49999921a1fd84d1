"""The function that answers a prediction or a training: its inputs, its output and how it wants to be run."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from builder.errors import SchemaError
from builder.schema.literals import NotLiteralError, evaluate
from builder.schema.source import Definition, Function, Module, Problem, Project
from builder.schema.types import IteratorOf, ListOf, Scalar, Type, UnionOf, input_type, lineage, output_type, unquoted

Mode: TypeAlias = Literal["run", "train"]

_METHODS: dict[Mode, tuple[str, ...]] = {"run": ("run", "predict"), "train": ("train",)}
_CONSTRAINTS = ("ge", "le", "min_length", "max_length", "regex")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A parameter.

    `required`: a request must give it.  `has_default`: `default` (a JSON value) is known; a default that only running
    the code would tell makes an input neither required nor one with a known default.
    """

    name: str
    type: Type
    nullable: bool
    required: bool
    has_default: bool = False
    default: Any = None
    description: str | None = None
    choices: tuple[Any, ...] | None = None
    constraints: tuple[tuple[str, Any], ...] = ()
    """`ge le min_length max_length regex` as given."""
    deprecated: bool | None = None
    accept: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """What the source says of a runner."""

    inputs: tuple[Input, ...]
    output: Type
    is_async: bool
    streaming: bool
    concurrency: int | None


def describe(project: Project, *, reference: str, mode: Mode) -> Runner:
    """The runner that `reference` (`path/file.py:Name`) names; a `SchemaError` with everything that is unclear."""
    path, _, name = reference.rpartition(":")
    module = project.open(path)
    definition = module.lookup(name)
    if definition is None or isinstance(definition.node, ast.expr):
        raise SchemaError(f"`{path}` has no class or function `{name}`", hint="correct the name in `cog.yaml`")
    owner, function = _function(definition, name=name, mode=mode)
    problems: list[Problem] = []
    inputs = []
    for parameter, default in _parameters(
        function, owner=owner, is_method=definition.node is not function, problems=problems
    ):
        try:
            inputs.append(_input(parameter, default, module=owner, function=function.name))
        except Problem as problem:
            problems.append(problem)
    output, streaming, concurrency = None, False, None
    try:
        output = _output(function, module=owner)
        streaming, concurrency = _decorations(function, module=owner, output=output)
    except Problem as problem:
        problems.append(problem)
    if problems or output is None:
        raise _unclear(problems, reference=reference)
    return Runner(
        inputs=tuple(inputs),
        output=output,
        is_async=isinstance(function, ast.AsyncFunctionDef),
        streaming=streaming,
        concurrency=concurrency,
    )


def _unclear(problems: list[Problem], *, reference: str) -> SchemaError:
    if len(problems) == 1:
        return SchemaError(problems[0].message, details=problems[0].place)
    listed = "\n".join(f"{problem.message}\n  {problem.place}" for problem in problems)
    return SchemaError(f"the inputs and output of `{reference}` are unclear", details=listed)


def _function(definition: Definition, *, name: str, mode: Mode) -> tuple[Module, Function]:
    """The function itself, or the class's method, own or inherited."""
    if isinstance(definition.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return definition.module, definition.node
    names = _METHODS[mode]
    found: dict[str, tuple[Module, Function]] = {}
    for owner in lineage(definition):
        assert isinstance(owner.node, ast.ClassDef)
        for statement in owner.node.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name in names:
                found.setdefault(statement.name, (owner.module, statement))
    if len(found) > 1:
        raise SchemaError(f"{name} must define either run() or predict(), not both")
    if not found:
        raise SchemaError(f"{' or '.join(names)} method not found: {name}")
    return next(iter(found.values()))


def _parameters(
    function: Function, *, owner: Module, is_method: bool, problems: list[Problem]
) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    arguments = function.args
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            message = f"parameter '*{star.arg}' on {function.name} is not supported: name each input"
            problems.append(Problem(message, module=owner, node=star))
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    pairs = list(zip(positional, [None] * missing + list(arguments.defaults), strict=True))
    static = any(owner.final(decorator) == "staticmethod" for decorator in function.decorator_list)
    yield from pairs[1:] if is_method and not static else pairs
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _input(parameter: ast.arg, default: ast.expr | None, *, module: Module, function: str) -> Input:
    name = parameter.arg
    if parameter.annotation is None:
        raise Problem(f"parameter '{name}' on {function} has no type annotation", module=module, node=parameter)
    kind, nullable = input_type(parameter.annotation, module=module)
    plain = Input(name=name, type=kind, nullable=nullable, required=not nullable or isinstance(kind, UnionOf))
    if default is None:
        return plain
    found = _input_call(default, module=module)
    if found is None:
        try:
            value = evaluate(default, module=module)
        except NotLiteralError as problem:
            message = f"parameter '{name}': default `{ast.unparse(default)}` cannot be statically resolved"
            raise Problem(message, module=module, node=default) from problem
        made = _with_default(plain, value)
        _check_value(made, value, module=module, node=default)
        return made
    call, where = found
    return _from_call(plain, call, module=where)


def _input_call(node: ast.expr, *, module: Module) -> tuple[ast.Call, Module] | None:
    """`Input(...)` itself, or where a class attribute or a static method of the project gives it."""
    if isinstance(node, ast.Call) and module.final(node.func) == "Input":
        return node, module
    reference = node.func if isinstance(node, ast.Call) else node
    if isinstance(reference, ast.Attribute):
        holder = module.definition(reference.value)
        for owner in lineage(holder) if holder else ():
            assert isinstance(owner.node, ast.ClassDef)
            for statement in owner.node.body:
                value = _attribute(statement, reference.attr)
                if value is not None:
                    return _input_call(value, module=owner.module)
        return None
    definition = module.definition(reference)
    if definition is None or definition.node is node:
        return None
    if isinstance(definition.node, ast.expr):
        is_input = isinstance(definition.node, ast.Call)
        return _input_call(definition.node, module=definition.module) if is_input else None
    value = _returned(definition.node)
    return _input_call(value, module=definition.module) if value is not None and isinstance(node, ast.Call) else None


def _attribute(statement: ast.stmt, name: str) -> ast.expr | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
            return value
        case ast.AnnAssign(target=ast.Name(id=found), value=value) if found == name:
            return value
        case ast.FunctionDef(name=found) if found == name:
            return _returned(statement)
    return None


def _returned(node: ast.AST) -> ast.expr | None:
    """What a function of a single `return` gives back."""
    if not isinstance(node, ast.FunctionDef):
        return None
    returns = [line.value for line in node.body if isinstance(line, ast.Return)]
    return returns[0] if len(returns) == 1 else None


def _from_call(plain: Input, call: ast.Call, *, module: Module) -> Input:
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    name = plain.name
    if "default_factory" in given:
        message = f"parameter '{name}': default_factory is not supported in static schema generation"
        raise Problem(message, module=module, node=given["default_factory"])
    if call.args:
        given.setdefault("default", call.args[0])
    known = {key: _literal(value, module=module) for key, value in given.items()}
    made = plain
    if "default" in given:
        value = known["default"]
        made = dataclasses.replace(plain, required=False) if value is _UNKNOWN else _with_default(plain, value)
    choices = known.get("choices")
    if choices is _UNKNOWN or (choices is not None and not isinstance(choices, list)):
        message = f"parameter '{name}': choices expression cannot be statically resolved"
        raise Problem(message, module=module, node=given["choices"])
    accept = _typed(known, "accept", str)
    if accept is not None and not _accepts_files(made.type):
        message = f"accept is only valid on Path or File inputs (parameter '{name}')"
        raise Problem(message, module=module, node=given["accept"])
    constraints = tuple(
        (key, known[key]) for key in _CONSTRAINTS if known.get(key) is not None and known[key] is not _UNKNOWN
    )
    if isinstance(made.type, UnionOf) and (constraints or choices):
        raise Problem("constraints and choices are not supported on union inputs", module=module, node=call)
    made = dataclasses.replace(
        made,
        description=_typed(known, "description", str),
        choices=tuple(choices) if choices else None,
        constraints=constraints,
        deprecated=_typed(known, "deprecated", bool),
        accept=accept,
    )
    if made.has_default:
        _check_value(made, made.default, module=module, node=given["default"])
    return made


class _Unknown:
    """The value of an expression that only running the code would tell."""


_UNKNOWN = _Unknown()


def _literal(node: ast.expr, *, module: Module) -> Any:
    try:
        return evaluate(node, module=module)
    except NotLiteralError:
        return _UNKNOWN


def _typed(known: dict[str, Any], key: str, kind: type) -> Any:
    value = known.get(key)
    return value if isinstance(value, kind) else None


def _with_default(plain: Input, value: Any) -> Input:
    """Cog's rule: None is a default only where the type allows it, or for a Secret; elsewhere it means "required"."""
    is_secret = plain.type == Scalar(name="Secret")
    if value is None and not plain.nullable and not is_secret:
        return plain
    nullable = plain.nullable or (value is None and is_secret)
    return dataclasses.replace(plain, nullable=nullable, required=False, has_default=True, default=value)


def _accepts_files(kind: Type) -> bool:
    return kind in (Scalar(name="Path"), Scalar(name="File")) or (
        isinstance(kind, ListOf) and _accepts_files(kind.item)
    )


def _check_value(made: Input, value: Any, *, module: Module, node: ast.expr) -> None:
    """A default must be one that a request could give."""
    if value is None:
        return
    wrong = _mismatch(made.type, value)
    if wrong is None and made.choices is not None and value not in made.choices:
        wrong = "is not one of the choices"
    limits = dict(made.constraints)
    if wrong is None and isinstance(value, (int, float)) and not isinstance(value, bool):
        wrong = f"is below {limits['ge']}" if "ge" in limits and value < limits["ge"] else None
        wrong = f"is above {limits['le']}" if "le" in limits and value > limits["le"] else wrong
    if wrong is None and isinstance(value, str):
        wrong = "is too short" if len(value) < limits.get("min_length", 0) else None
        wrong = "is too long" if len(value) > limits.get("max_length", len(value)) else wrong
        if wrong is None and "regex" in limits and not _matches(limits["regex"], value):
            wrong = f"does not match {limits['regex']}"
    if wrong:
        message = f"parameter '{made.name}': the default `{ast.unparse(node)}` {wrong}"
        raise Problem(message, module=module, node=node)


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # another dialect of regular expressions


def _mismatch(kind: Type, value: Any) -> str | None:
    match kind:
        case UnionOf(items=items):
            return None if any(_mismatch(item, value) is None for item in items) else "is of none of the types"
        case ListOf(item=item):
            if not isinstance(value, list):
                return "is not a list"
            return next((wrong for part in value if (wrong := _mismatch(item, part))), None)
        case Scalar(name="bool"):
            return None if isinstance(value, bool) else "is not a bool"
        case Scalar(name="int"):
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return None if whole and not isinstance(value, bool) else "is not an int"
        case Scalar(name="float"):
            return None if isinstance(value, (int, float)) and not isinstance(value, bool) else "is not a float"
        case Scalar(name="str" | "Path" | "File" | "Secret"):
            return None if isinstance(value, str) else "is not a str"
        case _:
            return None


def _output(function: Function, *, module: Module) -> Type:
    if function.returns is None:
        message = f"missing return type on {function.name}: annotate what it returns, such as `-> str`"
        raise Problem(message, module=module, node=function)
    return output_type(unquoted(function.returns, module=module), module=module)


def _decorations(function: Function, *, module: Module, output: Type) -> tuple[bool, int | None]:
    """Whether `@streaming` stands there, and the `max` of `@concurrent(max=N)`."""
    streaming, concurrency = False, None
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = module.final(called)
        if name == "streaming":
            streaming = True
            if not isinstance(output, IteratorOf):
                message = f"@streaming needs an iterator as return type of {function.name}"
                raise Problem(message, module=module, node=decorator)
        elif name == "concurrent" and isinstance(decorator, ast.Call):
            concurrency = _concurrency(decorator, module=module)
            if concurrency > 1 and not isinstance(function, ast.AsyncFunctionDef):
                message = "concurrent max greater than 1 requires an async function"
                raise Problem(message, module=module, node=decorator)
    return streaming, concurrency


def _concurrency(decorator: ast.Call, *, module: Module) -> int:
    value = next((keyword.value for keyword in decorator.keywords if keyword.arg == "max"), None)
    value = value or (decorator.args[0] if decorator.args else None)
    number = _literal(value, module=module) if value is not None else _UNKNOWN
    if not isinstance(number, int) or isinstance(number, bool):
        raise Problem("concurrent max must be an integer", module=module, node=decorator)
    if number < 1:
        raise Problem("concurrent max must be at least 1", module=module, node=decorator)
    return number
