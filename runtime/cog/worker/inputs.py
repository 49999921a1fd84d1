"""A prediction's JSON input → the arguments of the run method.  Standard library and the SDK only.

Only parameters annotated `Path`, `File` or `Secret` (also optional, or in a list) are converted; a `str` that looks
like a URL stays one.
"""

from __future__ import annotations

import copy
import inspect
import os
import pathlib
import typing
from typing import Any, Callable, Dict, Iterator, List, Tuple

from cog.declared import REQUIRED, declared
from cog.files import File, Path, URLPath
from cog.input import FieldInfo
from cog.secret import Secret
from cog.worker.annotations import parameter_types, parameters
from cog.worker.parallel import in_parallel
from cog.worker.protocol import FileAt

PARALLEL_DOWNLOADS = 8


_PLAIN = (str, bool, dict, Any, type(None))


class InputError(Exception):
    """An input that cannot be handed to the model."""


class Signature:
    """The parameters of a run method and their types, worked out once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.parameters = parameters(function)
        self._old = declared(function)
        self.types = parameter_types(function)
        self.types.update((name, told.type) for name, told in self._old.items())
        self._plan = [
            (name, self._default(name, parameter), self._is_converted(name))
            for name, parameter in self.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]

    def arguments(self, given: Dict[str, Any], *, files: List[Dict[str, Any]]) -> Arguments:
        """The keyword arguments, defaults filled in, files still to be fetched.  InputError says what cannot be."""
        given = dict(given)
        for item in files:
            place(given, FileAt(**item))
        arguments: Dict[str, Any] = {}
        for name, default, convert in self._plan:
            value = given.pop(name, default)
            if value is default:
                if value is REQUIRED:
                    raise InputError(f"{name}: Field required")
                if type(value) in (list, dict, set):  # the model may change it
                    value = copy.deepcopy(value)
            arguments[name] = self._converted(name, value) if convert else value
        for name, value in given.items():
            arguments[name] = self._converted(name, value)
        return Arguments(arguments)

    def _is_converted(self, name: str) -> bool:
        """Whether values of a parameter may have to be converted; strings and plain JSON never are."""
        return not all(member in _PLAIN for member in _members(self.types.get(name, Any)))

    def _converted(self, name: str, value: Any) -> Any:
        try:
            return _convert(value, self.types.get(name, Any))
        except (ValueError, TypeError) as problem:
            raise InputError(f"{name}: {problem}") from problem

    def _default(self, name: str, parameter: inspect.Parameter) -> Any:
        if name in self._old and self._old[name].default is not REQUIRED:
            return self._old[name].default
        if parameter.default is not parameter.empty:
            default = parameter.default
            return default.default if isinstance(default, FieldInfo) else default
        return None if type(None) in _members(self.types.get(name, Any)) else REQUIRED


class Arguments:
    """Keyword arguments; `pending` are the places of files that must be fetched before the model gets them."""

    def __init__(self, values: Dict[str, Any]) -> None:
        self.values = values
        self.pending: List[Tuple[URLPath, Any, Any]] = []
        for name, value in values.items():
            if isinstance(value, URLPath):
                self.pending.append((value, values, name))
            elif isinstance(value, list):
                self.pending += [(v, holder, at) for holder, at, v in _walk(value) if isinstance(v, URLPath)]

    def fetch(self, folder: str) -> Dict[str, Any]:
        """The arguments with all files in `folder`, several fetched at a time.  InputError if one cannot be had."""
        if self.pending:
            _fetch(self.pending, folder)
        return self.values


def place(value: Any, file: FileAt) -> None:
    """Put a path where a file belongs in a JSON value."""
    for key in file.at[:-1]:
        value = value[key]
    value[file.at[-1]] = Path(file.path)


def _fetch(pending: List[Tuple[URLPath, Any, Any]], folder: str) -> None:
    if folder:
        os.makedirs(folder, exist_ok=True)

    def one(item: Tuple[URLPath, Any, Any]) -> None:
        url, holder, at = item
        try:
            holder[at] = url.convert(folder or None)
        except Exception as problem:  # HTTPException, zlib.error: not worth their imports
            raise InputError(f"could not fetch {url.source[:200]}: {problem}") from problem

    in_parallel(one, pending, most=PARALLEL_DOWNLOADS)


def _walk(holder: List[Any]) -> Iterator[Tuple[List[Any], int, Any]]:
    for index, value in enumerate(holder):
        if isinstance(value, list):
            yield from _walk(value)
        else:
            yield holder, index, value


def _members(annotation: Any) -> Tuple[Any, ...]:
    """The types of a union, or the one type; `Annotated` looked through."""
    annotation = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    origin = typing.get_origin(annotation)
    if origin is typing.Union or getattr(origin, "__name__", "") == "UnionType":
        return tuple(member for part in annotation.__args__ for member in _members(part))
    return (annotation,)


def _convert(value: Any, annotation: Any) -> Any:
    if value is None:
        return None
    members = _members(annotation)
    if isinstance(value, (list, tuple)):
        for member in members:
            if getattr(member, "__origin__", None) in (list, typing.List, typing.Sequence):
                item = (typing.get_args(member) or (Any,))[0]
                return [_convert(part, item) for part in value]
        return value
    kinds = [member for member in members if isinstance(member, type)]
    if any(issubclass(kind, pathlib.PurePath) for kind in kinds):
        return Path.validate(value) if isinstance(value, str) else value
    if any(issubclass(kind, File) for kind in kinds):
        if isinstance(value, pathlib.Path):
            return value.open("rb")
        return File.validate(value) if isinstance(value, str) else value
    if Secret in kinds:
        return Secret(value) if isinstance(value, str) else value
    if isinstance(value, float) and int in kinds and float not in kinds and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds and int not in kinds:
        return float(value)
    return value
