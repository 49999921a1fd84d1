"""The text of a Python file as a syntax tree, also where it is written for a newer Python than this one."""

from __future__ import annotations

import ast
import sys
import warnings

from builder.errors import SchemaError

_REWRITES = 200
"""Most lines of one file that are taken back to older syntax."""


def parse(data: bytes, *, name: str) -> ast.Module:
    """The tree of the file called `name`; a `SchemaError` that points at what is no Python.

    `type X = ...` and `def f[T]()` (PEP 695) are understood on Python 3.11 too: the model may run on a newer one.
    """
    try:
        return _tree(data, name=name)
    except SyntaxError as problem:
        older = data
        found: SyntaxError | None = problem
        for _ in range(_REWRITES if sys.version_info < (3, 12) else 0):
            if found is None or (rewritten := _without_generics(older, line=found.lineno or 0)) is None:
                break
            older = rewritten
            try:
                return _tree(older, name=name)
            except SyntaxError as another:
                found = another
        raise _no_python(problem, name=name) from problem
    except (ValueError, RecursionError, MemoryError) as problem:
        reason = str(problem) if isinstance(problem, ValueError) else "it is nested too deeply"
        raise SchemaError(f"failed to read predictor source {name}: {reason}", hint=_NESTED) from problem


_NESTED = "the file must be Python source that can be read without running it"


def _tree(data: bytes, *, name: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(data, filename=name)


def _without_generics(data: bytes, *, line: int) -> bytes | None:
    """The file with the PEP 695 syntax of one line blanked, columns kept; None if the line has none."""
    import re

    lines = data.split(b"\n")
    if not 0 < line <= len(lines):
        return None
    text = lines[line - 1]
    alias = re.match(rb"(\s*)type(\s+)(\w+)(\s*\[[^=]*\])?(\s*=.*)", text, re.DOTALL)
    generic = re.match(rb"(\s*(?:async\s+def|def|class)\s+\w+)(\s*\[[^()]*\])(.*)", text, re.DOTALL)
    if alias:
        indent, gap, name, parameters, rest = alias.groups(default=b"")
        lines[line - 1] = indent + name + b" " * (4 + len(gap) + len(parameters)) + rest
    elif generic:
        head, parameters, rest = generic.groups()
        lines[line - 1] = head + b" " * len(parameters) + rest
    else:
        return None
    return b"\n".join(lines)


def _no_python(problem: SyntaxError, *, name: str) -> SchemaError:
    where = f"{name}:{problem.lineno}:{problem.offset}" if problem.lineno else name
    details = f"{where}: {problem.msg}"
    text = (problem.text or "").rstrip()
    if text.strip() and problem.offset:
        indent = len(text) - len(text.lstrip())
        details += f"\n    {text.strip()}\n    {' ' * max(problem.offset - 1 - indent, 0)}^"
    version = ".".join(map(str, sys.version_info[:2]))
    return SchemaError(
        f"`{name}` is not valid Python",
        details=details,
        hint=f"correct it; if it is written for a Python newer than {version}, run cogsmith itself with that Python",
    )
