"""YAML text → a tree that remembers where each value stands and how it was written.  Imports `errors` only.

Scalars keep their text, so that an unquoted `3.10` stays `3.10`.  Safe with hostile input: no tags of Python, no
endless aliases, no unbounded nesting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import yaml

from builder.errors import ConfigError
from builder.frozen import frozen

MAX_CHARACTERS = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 50

_WIDTH = 160
"""Of a line in a message, in characters."""

_HINTS = {
    "expected a single document": "a `cog.yaml` is one document: leave out the `---` between two",
    "found undefined alias": "an alias (`*name`) needs an anchor (`&name`) above it",
    "mapping values are not allowed": "put quotes around a value that has a colon in it",
    "could not find expected ':'": "a key is followed by a colon and a space: `key: value`",
}

_STANDARD_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value"})


@frozen
class Mark:
    """A place in the file, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@frozen
class Scalar:
    """A scalar's literal text and its kind (`str`, `int`, `float`, `bool`, `null`, ...)."""

    text: str
    kind: str
    mark: Mark


@frozen
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    mark: Mark


@frozen
class Key:
    """A key of a mapping where it stands."""

    text: str
    mark: Mark


@frozen
class Mapping:
    """Keys with their values in the order of the file; a key may come twice (the reader complains)."""

    items: tuple[tuple[Key, Node], ...]
    mark: Mark


Node: TypeAlias = Scalar | Sequence | Mapping


def parse(text: str, *, path: Path) -> Node | None:
    """The single document in `text`, or `None` if it holds nothing; `ConfigError` if it is not YAML that we read."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"`{path}` is too large to be a `{path.name}`", details=f"{len(text)} characters")
    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_depth(text, loader_class, path=path)
        root = yaml.compose(text, Loader=loader_class)
    except yaml.YAMLError as problem:
        details, hint = _explain(problem, text)
        raise ConfigError(f"`{path}` is not valid YAML", details=details, hint=hint) from problem
    return None if root is None else _Builder(path).node(root, parents=())


def _check_depth(text: str, loader_class: type[yaml.SafeLoader], *, path: Path) -> None:
    # Composing recurses in C, so the depth is bounded on the flat stream of events first.
    depth = 0
    for event in yaml.parse(text, Loader=loader_class):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"`{path}` is nested too deeply", details=str(_mark(event.start_mark)))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Copies yaml's nodes into ours, aliases expanded within bounds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def node(self, node: yaml.Node, *, parents: tuple[int, ...]) -> Node:
        self._count += 1
        mark = _mark(node.start_mark)
        if self._count > MAX_NODES or id(node) in parents or len(parents) > MAX_DEPTH:
            raise ConfigError(f"`{self._path}` has aliases that expand without end", details=str(mark))
        kind = node.tag.removeprefix(_STANDARD_TAG)
        if kind not in _KINDS:
            raise ConfigError(f"`{self._path}` has a tag that is not supported", details=f"{mark}: {node.tag}")
        inside = (*parents, id(node))
        match node:
            case yaml.ScalarNode():
                return Scalar(text=node.value, kind=kind, mark=mark)
            case yaml.SequenceNode():
                return Sequence(items=tuple(self.node(item, parents=inside) for item in node.value), mark=mark)
            case yaml.MappingNode():
                return Mapping(items=self._items(node, parents=inside), mark=mark)
            case _:
                raise AssertionError(node)

    def _items(self, node: yaml.MappingNode, *, parents: tuple[int, ...]) -> tuple[tuple[Key, Node], ...]:
        own: list[tuple[Key, Node]] = []
        merged: list[tuple[Key, Node]] = []
        for key_node, value_node in node.value:
            value = self.node(value_node, parents=parents)
            if key_node.tag == f"{_STANDARD_TAG}merge":
                sources = value.items if isinstance(value, Sequence) else (value,)
                for source in sources:
                    if not isinstance(source, Mapping):
                        where = str(_mark(value_node.start_mark))
                        raise ConfigError(f"`{self._path}` merges (`<<`) what is no mapping", details=where)
                    merged += source.items
            elif isinstance(key_node, yaml.ScalarNode):
                own.append((Key(text=key_node.value, mark=_mark(key_node.start_mark)), value))
            else:
                raise ConfigError(f"`{self._path}` has a key that is not text", details=str(_mark(key_node.start_mark)))
        # The mapping's own keys win over merged ones, and earlier merges over later ones (YAML merge keys).
        taken = {key.text for key, _ in own}
        for key, value in merged:
            if key.text not in taken:
                taken.add(key.text)
                own.append((key, value))
        return tuple(own)


def _mark(mark: Any) -> Mark:
    return Mark(line=mark.line + 1, column=mark.column + 1)


def source_line(text: str, mark: Mark) -> tuple[str, ...]:
    """The line of `text` that `mark` is on and a second one that points at the column; long lines are cut."""
    lines = text.splitlines()
    if mark.line > len(lines):
        return ()
    line = lines[mark.line - 1]
    first = max(0, mark.column - 1 - _WIDTH // 2) if len(line) > _WIDTH else 0
    before = line[first : mark.column - 1]
    # A tab before the place is one before the mark too, whatever its width.
    pointer = "".join(c if c == "\t" else " " for c in before)
    return (f"    {line[first : first + _WIDTH]}".rstrip(), f"    {pointer}^")


def _explain(problem: yaml.YAMLError, text: str) -> tuple[str, str | None]:
    """What is wrong and where, with the line; and what to do about it, where that is known."""
    what = getattr(problem, "problem", None) or str(problem)
    mark = getattr(problem, "problem_mark", None)
    if mark is not None:
        place = _mark(mark)
    else:
        wrong = yaml.reader.Reader.NON_PRINTABLE.search(text)
        if wrong is None:
            return str(what), None
        before = text[: wrong.start()]
        line = len(f"{before}.".splitlines())
        place = Mark(line=line, column=wrong.start() - before.rfind("\n"))
        what = f"the character U+{ord(wrong[0]):04X} is not allowed"
    shown = source_line(text, place)
    hint = next((hint for part, hint in _HINTS.items() if part in str(problem)), None)
    if shown and hint is None and shown[0][4:].lstrip(" ")[:1] == "\t":
        hint = "indent with spaces: YAML knows no tabs there"
    return "\n".join([f"{place}: {what}", *shown]), hint
