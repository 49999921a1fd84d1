"""Typed reading of YAML nodes that collects every problem instead of stopping at the first.

Knows nothing of the keys of `cog.yaml`.  Imports `errors` and `config.nodes` only.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from builder.config.nodes import Mapping, Mark, Node, Scalar, Sequence
from builder.frozen import frozen

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")


@frozen
class Problem:
    """One thing that is wrong: the dotted path of the field, what, and where."""

    field: str
    message: str
    value: str | None = None
    mark: Mark | None = None

    def place(self) -> tuple[int, int]:
        """Sorts problems as a person reads the file."""
        return (self.mark.line, self.mark.column) if self.mark else (0, 0)

    def __str__(self) -> str:
        got = [] if self.value is None else [f'got "{self.value}"']
        where = [] if self.mark is None else [str(self.mark)]
        tail = f" ({', '.join([*got, *where])})" if got or where else ""
        return f"{self.field}: {self.message}{tail}"


class Reader:
    """Collects `problems` and `warnings` while values are taken out of nodes."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def fail(self, field: str, message: str, *, node: Node | None = None, value: str | None = None) -> None:
        """Note a problem with `field`, found at `node`."""
        self.problems.append(Problem(field=field, message=message, value=value, mark=node.mark if node else None))

    def warn(self, text: str, node: Node | None = None) -> None:
        """Note what the user may want to change, at `node`."""
        self.warnings.append(f"{text} ({node.mark})" if node else text)

    def deprecated(self, field: str, instead: str, *, node: Node | None) -> None:
        """Note an old name."""
        if not is_null(node):
            self.warn(f'deprecated field "{field}": use "{instead}" instead', node)

    def mapping(
        self,
        node: Node | None,
        *,
        field: str,
        keys: Collection[str],
        elsewhere: dict[str, str] | None = None,
    ) -> dict[str, Node]:
        """The values of a mapping by key, nulls left out; unknown keys are warned of, double ones are problems.

        `elsewhere` says of keys that do not belong here what to write instead.
        """
        if is_null(node):
            return {}
        if not isinstance(node, Mapping):
            self.fail(field or "cog.yaml", "must be a mapping", node=node)
            return {}
        values: dict[str, Node] = {}
        first: dict[str, Mark] = {}
        for key, value in node.items:
            name = join(field, key.text)
            if key.text in first:
                self.problems.append(
                    Problem(field=name, message=f"is given twice, first on line {first[key.text].line}", mark=key.mark)
                )
                continue
            first[key.text] = key.mark
            if key.text not in keys:
                self.warn(
                    f"unknown key `{name}` is ignored ({key.mark}){_did_you_mean(key.text, keys, elsewhere or {})}"
                )
            elif not is_null(value):
                values[key.text] = value
        return values

    def items(self, node: Node | None, *, field: str, example: str = "") -> tuple[tuple[str, Node], ...]:
        """The elements of a list with the path of each; null is the empty list.  `example` is one of a list."""
        if is_null(node):
            return ()
        if not isinstance(node, Sequence):
            own = node.text if isinstance(node, Scalar) and len(node.text) < 60 and "\n" not in node.text else example
            self.fail(field, "must be a list" + (f", with a line `- {own}` for each" if own else ""), node=node)
            return ()
        return tuple((f"{field}[{i}]", item) for i, item in enumerate(node.items))

    def text(self, node: Node | None, *, field: str) -> str | None:
        """A scalar's literal text, whatever its kind; `None` for null and for what is no scalar (a problem)."""
        if is_null(node):
            return None
        if not isinstance(node, Scalar):
            self.fail(field, "must be a string or number", node=node)
            return None
        if "\0" in node.text:
            self.fail(field, "must not contain a NUL character", node=node)
            return None
        return node.text

    def texts(self, node: Node | None, *, field: str) -> tuple[str, ...]:
        """A list of scalars as texts; empty ones and nulls are dropped."""
        found = (self.text(item, field=name) for name, item in self.items(node, field=field))
        return tuple(text for text in found if text)

    def flag(self, node: Node | None, *, field: str) -> bool:
        """A boolean; absent is false."""
        if is_null(node):
            return False
        if isinstance(node, Scalar) and node.kind == "bool":
            return node.text.lower() in {"true", "yes", "on"}
        self.fail(field, "must be true or false", node=node, value=node.text if isinstance(node, Scalar) else None)
        return False

    def number(self, node: Node | None, *, field: str) -> int | None:
        """A whole number."""
        if is_null(node):
            return None
        if isinstance(node, Scalar) and node.kind == "int" and _INTEGER.match(node.text):
            return int(node.text)
        self.fail(field, "must be a whole number", node=node, value=node.text if isinstance(node, Scalar) else None)
        return None


def is_null(node: Node | None) -> bool:
    """Whether nothing, or `null`, was written."""
    return node is None or (isinstance(node, Scalar) and node.kind == "null")


def join(field: str, key: str) -> str:
    """The dotted path of `key` inside `field`."""
    return f"{field}.{key}" if field else key


def _did_you_mean(word: str, known: Collection[str], elsewhere: dict[str, str]) -> str:
    if word in elsewhere:
        return f"; {elsewhere[word]}"
    import difflib

    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
