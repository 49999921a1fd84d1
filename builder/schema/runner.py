"""The function that answers a prediction or a training: its inputs, its output and how it wants to be run."""

from __future__ import annotations

import ast
from typing import Any, Literal, NamedTuple, TypeAlias

from builder.errors import SchemaError
from builder.schema.inputs import Input, parameters, read_input
from builder.schema.literals import known
from builder.schema.names import Function
from builder.schema.source import FUNCTIONS, Definition, Module, Problem, Project, lineage, statements
from builder.schema.types import output_type
from builder.schema.values import UNKNOWN

Mode: TypeAlias = Literal["run", "train"]

_METHODS: dict[Mode, tuple[str, ...]] = {"run": ("run", "predict"), "train": ("train",)}
_NAMES: dict[Mode, tuple[str, ...]] = {"run": ("Runner", "Predictor", "run", "predict"), "train": ("train", "Trainer")}


class Runner(NamedTuple):
    """What the source says of a runner; `output` is a JSON schema, `concurrency` what `@concurrent` says."""

    inputs: tuple[Input, ...]
    output: dict[str, Any]
    is_async: bool
    streaming: bool
    concurrency: int | None


def describe(project: Project, *, reference: str, mode: Mode) -> Runner:
    """The runner that `reference` (`path/file.py:Name`) names; a `SchemaError` with everything that is unclear."""
    path, _, name = reference.partition(":")
    module = project.open(path)
    definition, name = _named(module, name, mode=mode)
    owner, function = _function(definition, name=name, mode=mode)
    problems: list[Problem] = []
    inputs = _inputs(function, owner=owner, is_method=definition.node is not function, problems=problems)
    output: dict[str, Any] = {}
    streaming, concurrency = False, None
    try:
        output = _output(function, module=owner)
        streaming, concurrency = _decorations(function, module=owner, output=output)
    except Problem as problem:
        problems.append(problem)
    if problems:
        raise _unclear(problems, reference=reference)
    return Runner(
        inputs=tuple(inputs),
        output=output,
        is_async=isinstance(function, ast.AsyncFunctionDef),
        streaming=streaming,
        concurrency=concurrency,
    )


def _named(module: Module, name: str, *, mode: Mode) -> tuple[Definition, str]:
    """The class or function of that name; without one, the first of the usual names."""
    for candidate in [name] if name else _NAMES[mode]:
        found = module.lookup(candidate)
        if isinstance(found, Definition) and not isinstance(found.node, ast.expr):
            return found, candidate
    text = name or "` or `".join(_NAMES[mode])
    raise SchemaError(f"`{module.name}` has no class or function `{text}`", hint=_did_you_mean(module))


def _did_you_mean(module: Module) -> str:
    names = module.callables()
    return f"correct the name in `cog.yaml`: the file has {', '.join(names[:8])}" if names else "correct `cog.yaml`"


def _unclear(problems: list[Problem], *, reference: str) -> SchemaError:
    if len(problems) == 1:
        return SchemaError(problems[0].message, details=problems[0].place, hint=problems[0].hint)
    listed = "\n".join(
        f"{problem.message}\n  {problem.place}" + (f"\n  hint: {problem.hint}" if problem.hint else "")
        for problem in problems
    )
    return SchemaError(f"the inputs and output of `{reference}` are unclear", details=listed)


def _function(definition: Definition, *, name: str, mode: Mode) -> tuple[Module, Function]:
    """The function itself, or the class's method, own or inherited."""
    if isinstance(definition.node, FUNCTIONS):
        return definition.module, definition.node
    names = _METHODS[mode]
    found: dict[str, tuple[Module, Function]] = {}
    for owner in lineage(definition):
        assert isinstance(owner.node, ast.ClassDef)
        own: dict[str, tuple[Module, Function]] = {}
        for statement in statements(owner.node.body):
            if not isinstance(statement, FUNCTIONS) or statement.name not in names:
                continue
            # the last one counts, as when Python runs the class; of those under conditions, the first
            if statement.name not in own or statement in owner.node.body:
                own[statement.name] = (owner.module.within(owner.node, at=statement), statement)
        found = own | found
    if len(found) > 1:
        places = [module.place(function) for module, function in found.values()]
        raise SchemaError(
            f"{name} must define either run() or predict(), not both",
            details="\n".join(places),
            hint="keep run(), and give the other method another name",
        )
    if not found:
        raise SchemaError(
            f"{' or '.join(names)} method not found: {name}",
            details=definition.module.place(definition.node),
            hint=f"add a method `def {names[0]}(self, ...) -> ...` to {name}",
        )
    return next(iter(found.values()))


def declarations(function: Function, *, module: Module) -> list[ast.Call]:
    """The `@cog.input(...)` of a method, in the order of the source; none in today's form."""
    return [
        decorator
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and module.resolve(decorator.func) == "cog.input"
    ]


def _inputs(function: Function, *, owner: Module, is_method: bool, problems: list[Problem]) -> list[Input]:
    pairs = list(parameters(function, is_method=is_method, module=owner))
    made: list[Input] = []
    declared = declarations(function, module=owner)
    if declared:
        from builder.schema.decorated import declared_input, undeclared
    for call in declared:
        try:
            made.append(declared_input(call, module=owner))
        except Problem as problem:
            problems.append(problem)
    if declared:
        if not problems:
            problems += undeclared(function, pairs=pairs, names={item.name for item in made}, module=owner)
        return made
    for parameter, default in pairs:
        try:
            made.append(read_input(parameter, default, module=owner, function=function.name))
        except Problem as problem:
            problems.append(problem)
    return made


def _output(function: Function, *, module: Module) -> dict[str, Any]:
    if function.returns is not None:
        return output_type(function.returns, module=module)
    if declarations(function, module=module):
        from builder.schema.decorated import returned_type

        return returned_type(function, module=module)
    raise Problem(
        f"missing return type on {function.name}: annotate what it returns, such as `-> str`",
        module=module,
        node=function,
        hint=f"write `def {function.name}(...) -> Path:` if it returns a file, or the type that it does return",
    )


def _decorations(function: Function, *, module: Module, output: dict[str, Any]) -> tuple[bool, int | None]:
    """Whether `@streaming` stands there, and the `max` of `@concurrent(max=N)`."""
    streaming, concurrency = False, None
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = module.resolve(called)
        if name == "cog.streaming":
            streaming = True
            if "x-cog-array-type" not in output:
                raise Problem(
                    f"@streaming needs an iterator as return type of {function.name}",
                    module=module,
                    node=decorator,
                    hint="write `-> ConcatenateIterator[str]` or `-> Iterator[...]`, and yield the parts",
                )
        elif name == "cog.concurrent":
            concurrency = _concurrency(decorator, module=module)
            if concurrency > 1 and not isinstance(function, ast.AsyncFunctionDef):
                raise Problem(
                    "concurrent max greater than 1 requires an async function",
                    module=module,
                    node=decorator,
                    hint=f"write `async def {function.name}`, or `max=1`",
                )
    return streaming, concurrency


def _concurrency(decorator: ast.expr, *, module: Module) -> int:
    if not isinstance(decorator, ast.Call):
        return 1
    words = [keyword.value for keyword in decorator.keywords if keyword.arg == "max"]
    value = next(iter(words + decorator.args), None)
    if value is None and not decorator.keywords:
        return 1
    number = known(value, module=module) if value is not None else UNKNOWN
    if not isinstance(number, int) or isinstance(number, bool):
        hint = "write the number itself: `@cog.concurrent(max=4)`"
        raise Problem("concurrent max must be an integer", module=module, node=decorator, hint=hint)
    if number < 1:
        raise Problem("concurrent max must be at least 1", module=module, node=decorator)
    return number
