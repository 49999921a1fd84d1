"""Changes that `doctor --fix` makes to a project's files.  Text is edited in place: comments and layout stay."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import yaml

from builder.cli.doctor.renames import rename
from builder.cli.doctor.sources import Source, taken_from
from builder.errors import CogsmithError, ConfigError

Mend: TypeAlias = Callable[[], str]
_KEY = re.compile(r"(?m)^predict(\s*:)")


def has_predict(config: str) -> bool:
    """Whether the text of a `cog.yaml` has the key `predict`."""
    return _KEY.search(config) is not None and _Config(config).has_predict


def why_not(root: Path, *, reference: str) -> str:
    """Why the project cannot be migrated by a program; empty if it can."""
    path, _, _ = reference.partition(":")
    source = root / path
    if source.name == "predict.py" and source.with_name("run.py").exists():
        return f"`{Path(path).with_name('run.py')}` exists already: rename one of them yourself"
    if not source.is_file():
        return f"`{path}` does not exist"
    try:
        Source(source)
    except CogsmithError as problem:
        return problem.brief
    return ""


def migrate(root: Path, *, file: str, reference: str) -> str:
    """Write `run` for `predict`: the key, the file, the class, its base and its method; what was done, in words.

    What others name stays: a file or class that another file imports, a value that is not written plainly.
    """
    path, _, name = reference.partition(":")
    source = Source(root / path)
    config = _Config((root / file).read_bytes().decode())
    used = taken_from(root, source.path)
    plainly = config.is_plain("predict", reference)
    # Whoever has the class, or the whole file, may call its methods.
    new_name = name if not plainly or used & {"*", name} else rename(source, name=name)
    target = source.path
    if target.name == "predict.py" and plainly and not used and not target.is_symlink() and config.can_move(path):
        target = target.with_name("run.py")
    new_path = str(PurePosixPath(path).with_name(target.name))
    config.change(path, name, new_path=new_path, new_name=new_name)
    _write(source.path, source.encoded())
    if target != source.path:
        _rename(source.path, target)
    _write(root / file, config.text.encode())
    moved = f"{path} to {new_path}, " if target != source.path else ""
    return f"{moved}`predict: {reference}` is `run: {new_path}:{new_name}`"


class _Config:
    """The text of a `cog.yaml`, its line ends as they are, and where its keys and values stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        self._values: dict[str, yaml.ScalarNode] = {}
        self._key: yaml.Node | None = None
        self._others: list[str] = []
        pairs = root.value if isinstance(root, yaml.MappingNode) else []
        for key, value in pairs:
            if key.value in {"predict", "train"} and isinstance(value, yaml.ScalarNode):
                self._values[key.value] = value
                self._key = key if key.value == "predict" else self._key
            else:
                self._others += [token.value for token in _scalars(value)]

    @property
    def has_predict(self) -> bool:
        """Whether `predict` is a key, not only a line of a text."""
        return self._key is not None

    def is_plain(self, key: str, value: str) -> bool:
        """Whether the value of `key` is `value` and written as such, on the line of the key."""
        node = self._values.get(key)
        if node is None or self._key is None:
            return False
        same = key != "predict" or node.start_mark.line == self._key.end_mark.line
        return same and self._written(node).strip("\"'") == value

    def can_move(self, path: str) -> bool:
        """Whether each place that names the file can be rewritten."""
        train = self._values.get("train")
        known = train is None or PurePosixPath(path).name not in train.value or self.is_plain("train", train.value)
        return known and not any(PurePosixPath(path).name in text for text in self._others)

    def change(self, path: str, name: str, *, new_path: str, new_name: str) -> None:
        """Write `run` for `predict`, and the new names of the file and its class."""
        edits: dict[tuple[int, int], str] = {}
        if self._key is not None:
            edits[_span(self._key)] = self._written(self._key).replace("predict", "run")
        for node in self._values.values():
            own_path, _, own_name = node.value.partition(":")
            if PurePosixPath(own_path) == PurePosixPath(path):
                new = f"{new_path}:{new_name if own_name == name else own_name}"
                edits[_span(node)] = self._written(node).replace(node.value, new)
        for (start, end), new in sorted(edits.items(), reverse=True):
            self.text = self.text[:start] + new + self.text[end:]

    def _written(self, node: yaml.Node) -> str:
        start, end = _span(node)
        return self.text[start:end]


def _span(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


def _scalars(root: yaml.Node) -> Iterator[yaml.ScalarNode]:
    todo, seen = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield node
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            todo += [part for pair in node.value for part in pair]


def remove_import(path: Path, name: str, *, shown: str) -> str:
    """Take one name out of `from cog import ...`; what was done, in words."""
    source = Source(path)
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module, node.level) == ("cog", 0)
            and name in [alias.name for alias in node.names]
        ):
            kept = [alias for alias in node.names if alias.name != name]
            words = ", ".join(f"{alias.name} as {alias.asname}" if alias.asname else alias.name for alias in kept)
            new = f"from cog import {words}" if kept else "pass" if _is_alone(node, source.tree) else ""
            _replace(source.lines, node, new=new.encode())
            _write(path, source.encoded())
            break
    return f"{shown}: `{name}` is not imported any more"


def _is_alone(node: ast.stmt, tree: ast.Module) -> bool:
    """Whether a block would be empty without the statement."""
    for parent in ast.walk(tree):
        if isinstance(parent, ast.Module):
            continue
        for _, block in ast.iter_fields(parent):
            if isinstance(block, list) and len(block) == 1 and block[0] is node:
                return True
    return False


def _replace(lines: list[bytes], node: ast.stmt, *, new: bytes) -> None:
    """Put `new` in the place of a statement; where it is empty, the statement's lines go, unless others share them."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    whole = not before.strip() and (not after.strip() or after.lstrip().startswith(b"#"))
    if not new and not whole:
        new = b"pass"
    lines[first : last + 1] = [before + new + after] if new else []


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as problem:
        raise ConfigError(f"could not write `{path}`: {(problem.strerror or str(problem)).lower()}") from problem


def _rename(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError as problem:
        raise ConfigError(f"could not write `{target}`: {(problem.strerror or str(problem)).lower()}") from problem
