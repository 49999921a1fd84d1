"""`model` and `weights` of `cog.yaml`: checked and kept.  Reads no file."""

from __future__ import annotations

import posixpath
import re

from builder.config import Weight, WeightSource
from builder.config.nodes import Mapping, Node
from builder.config.reader import Reader

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*\Z")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\Z")


def read_model(reader: Reader, node: Node | None) -> str | None:
    """A bare OCI repository: no tag, no digest."""
    text = reader.text(node, field="model")
    if not text:
        return None
    if "@" in text or ":" in text.rpartition("/")[2]:
        reader.fail("model", "must be a bare repository — tags and digests are not allowed", node=node, value=text)
    elif not _REPOSITORY.match(text):
        reader.fail("model", "invalid repository", node=node, value=text)
    return text


def read_weights(reader: Reader, node: Node | None) -> tuple[Weight, ...]:
    """The managed weights; names and targets are unique, targets disjoint."""
    weights: list[Weight] = []
    for field, item in reader.items(node, field="weights"):
        values = reader.mapping(item, field=field, keys={"name", "target", "source"})
        name = reader.text(values.get("name"), field=f"{field}.name") or ""
        target = reader.text(values.get("target"), field=f"{field}.target") or ""
        _check_name(reader, name, field=field, node=values.get("name", item), taken={w.name for w in weights})
        _check_target(reader, target, field=field, node=values.get("target", item), taken=[w.target for w in weights])
        sources = _sources(reader, values.get("source"), field=f"{field}.source")
        if "source" not in values:
            reader.fail(f"{field}.source", "source is required", node=item)
        weights.append(Weight(name=name, target=posixpath.normpath(target), sources=sources))
    return tuple(weights)


def _check_name(reader: Reader, name: str, *, field: str, node: Node, taken: set[str]) -> None:
    if not name:
        reader.fail(f"{field}.name", "name is required", node=node)
    elif not _NAME.match(name):
        message = "must contain only lowercase alphanumeric characters, hyphens, dots, or underscores"
        reader.fail(f"{field}.name", message, node=node, value=name)
    elif name in taken:
        reader.fail(f"{field}.name", "duplicate weight name", node=node, value=name)


def _check_target(reader: Reader, target: str, *, field: str, node: Node, taken: list[str]) -> None:
    field = f"{field}.target"
    clean = posixpath.normpath(target)
    if not target:
        reader.fail(field, "target is required", node=node)
    elif not target.startswith("/"):
        reader.fail(field, "target must be an absolute path", node=node, value=target)
    elif clean.strip("/") == "":
        reader.fail(field, 'target must not be the container root "/"', node=node)
    elif clean in taken:
        reader.fail(field, "duplicate weight target", node=node, value=target)
    else:
        for other in taken:
            if clean.startswith(f"{other}/") or other.startswith(f"{clean}/"):
                message = f'target overlaps with "{other}"; weight targets must be disjoint'
                reader.fail(field, message, node=node, value=target)


def _sources(reader: Reader, node: Node | None, *, field: str) -> tuple[WeightSource, ...]:
    if isinstance(node, Mapping):
        return (_source(reader, node, field=field),)
    found = tuple(_source(reader, item, field=name) for name, item in reader.items(node, field=field))
    if node is not None and not found:
        reader.fail(field, "source is required", node=node)
    return found


def _source(reader: Reader, node: Node, *, field: str) -> WeightSource:
    values = reader.mapping(node, field=field, keys={"uri", "include", "exclude"})
    uri = reader.text(values.get("uri"), field=f"{field}.uri")
    if not uri:
        reader.fail(f"{field}.uri", "uri is required", node=node)
    include = _patterns(reader, values.get("include"), field=f"{field}.include")
    exclude = _patterns(reader, values.get("exclude"), field=f"{field}.exclude")
    return WeightSource(uri=uri or "", include=include, exclude=exclude)


def _patterns(reader: Reader, node: Node | None, *, field: str) -> tuple[str, ...]:
    patterns: list[str] = []
    for name, item in reader.items(node, field=field):
        text = reader.text(item, field=name) or ""
        if not text:
            reader.fail(name, "pattern must not be empty", node=item)
        elif text.startswith("!"):
            reader.fail(name, "negation patterns (starting with '!') are not supported", node=item, value=text)
        elif "\\" in text:
            reader.fail(name, "patterns must use forward slashes, not backslashes", node=item, value=text)
        patterns.append(text)
    return tuple(patterns)
