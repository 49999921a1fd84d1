"""The types of a function's parameters, whatever of them can be had.  Standard library only.

`typing.get_type_hints` gives all or nothing: one name that is imported for type checkers only, or one `str | None`
under `from __future__ import annotations` on Python 3.8, and a `Path` would not be known as one.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
import typing
from typing import Any, Callable, Dict

_GENERIC = {"list": "List", "dict": "Dict", "tuple": "Tuple", "set": "Set", "frozenset": "FrozenSet", "type": "Type"}


def parameter_types(function: Callable[..., Any]) -> Dict[str, Any]:
    """The types by parameter; `Any` for one that cannot be evaluated."""
    bare = inspect.unwrap(function)
    names = getattr(bare, "__globals__", {})
    annotations = _annotations(bare)
    try:
        found = dict(typing.get_type_hints(bare))
    except Exception:  # noqa: BLE001  # whatever evaluating somebody's annotations raises
        found = {name: _evaluated(annotation, names) for name, annotation in annotations.items()}
    return {name: found.get(name, Any) for name in annotations}


def parameters(function: Callable[..., Any]) -> Dict[str, inspect.Parameter]:
    """The parameters of a function; what its annotations name need not exist."""
    if sys.version_info >= (3, 14):
        import annotationlib

        signature = inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
        return dict(signature.parameters)
    return dict(inspect.signature(function).parameters)


def _annotations(function: Callable[..., Any]) -> Dict[str, Any]:
    if sys.version_info >= (3, 14):  # they are evaluated when they are asked for
        import annotationlib

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return getattr(function, "__annotations__", {})


def _evaluated(annotation: Any, names: Dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    with contextlib.suppress(Exception):
        return eval(annotation, dict(names))  # noqa: S307
    with contextlib.suppress(Exception):
        return _evaluated_as_older(annotation, names)
    return Any


def _evaluated_as_older(annotation: str, names: Dict[str, Any]) -> Any:
    """Evaluate `X | Y` and `list[X]` where the interpreter does not know them."""
    tree = ast.fix_missing_locations(_Older().visit(ast.parse(annotation, mode="eval")))
    return eval(compile(tree, "<annotation>", "eval"), {**names, "__typing": typing})  # noqa: S307


class _Older(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left, right = self.visit(node.left), self.visit(node.right)
        both = ast.Tuple([left, right], ast.Load())
        return ast.Subscript(_of_typing("Union"), _index(both), ast.Load())

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in _GENERIC:
            node.value = _of_typing(_GENERIC[node.value.id])
        return self.generic_visit(node)


def _of_typing(name: str) -> ast.Attribute:
    return ast.Attribute(ast.Name("__typing", ast.Load()), name, ast.Load())


def _index(node: ast.expr) -> Any:
    return node if sys.version_info >= (3, 9) else ast.Index(node)
