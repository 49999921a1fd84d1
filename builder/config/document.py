"""The keys of `cog.yaml` and what may stand there.  Reads no file but the one it is given."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from builder import config as c
from builder.config import sections
from builder.config.nodes import Mapping, Node, Scalar, parse, source_line
from builder.config.reader import Problem, Reader, is_null
from builder.config.weights import read_model, read_weights
from builder.config.words import is_balanced
from builder.errors import ConfigError

_TOP = frozenset(["build", "run", "predict", "train", "image", "model", "concurrency", "environment", "weights"])

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESERVED = frozenset(
    [
        "PATH",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "PYTHONUNBUFFERED",
        "LIBRARY_PATH",
        "HF_ENDPOINT",
        "HF_HUB_ENABLE_HF_TRANSFER",
    ]
)
_RESERVED_PREFIXES = ("R8_", "REPLICATE_", "CUDA_", "NVIDIA_", "NV_", "PGET_", "KUBERNETES_")


def read(text: str, *, path: Path) -> c.Config:
    """The `Config` in `text`; a `ConfigError` with all problems, each with its place and the line of the file."""
    text = text.removeprefix("\ufeff")
    reader = Reader()
    top = reader.mapping(parse(text, path=path), field="", keys=_TOP, elsewhere=sections.ELSEWHERE)
    config = _config(reader, top)
    if reader.problems:
        many = len(reader.problems)
        lines = []
        for problem in sorted(reader.problems, key=Problem.place):
            lines += [str(problem), *(source_line(text, problem.mark) if problem.mark else ())]
        # A misspelt key may be why another is missing.
        lines += [f"note: {warning}" for warning in reader.warnings if warning.startswith("unknown key")]
        raise ConfigError(f"`{path}` has {'a problem' if many == 1 else f'{many} problems'}", details="\n".join(lines))
    return config


def _config(reader: Reader, top: dict[str, Node]) -> c.Config:
    build = sections.read_build(reader, top)
    image = reader.text(top.get("image"), field="image") or None
    model, reference = _model(reader, top.get("model"))
    if image and model:
        reader.fail("model", "'model' and 'image' cannot both be set", node=top["model"])
    weights = read_weights(reader, top.get("weights"))
    if weights and not model:
        reader.fail("weights", "weights require 'model' in cog.yaml — rename 'image' to 'model'", node=top["weights"])
    return dataclasses.replace(
        build,
        environment=() if sections.is_old(top.get("environment")) else _environment(reader, top.get("environment")),
        run=_run(reader, top, old=reference),
        train=_reference(reader, top.get("train"), field="train", example="train.py:Trainer"),
        image=image,
        model=model,
        concurrency=_concurrency(reader, top.get("concurrency"), python_version=build.python_version),
        weights=weights,
        warnings=tuple(reader.warnings),
    )


def _model(reader: Reader, node: Node | None) -> tuple[str | None, str | None]:
    """The repository that `model` names; or the class, which it named in the oldest format."""
    text = reader.text(node, field="model") or ""
    if ".py:" not in text:
        return read_model(reader, node), None
    reader.deprecated("model", "run", node=node)
    return None, _reference(reader, node, field="model", example="model.py:Model")


def _environment(reader: Reader, node: Node | None) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    example = "NAME=value"
    if isinstance(node, Mapping) and node.items and isinstance(node.items[0][1], Scalar):
        example = f"{node.items[0][0].text}={node.items[0][1].text}"[:60].partition("\n")[0]
    for field, item in reader.items(node, field="environment", example=example):
        text = "" if is_null(item) else reader.text(item, field=field)
        if text is None:
            continue
        name, equals, value = text.partition("=")
        if not equals or not _VARIABLE.match(name):
            reader.fail(field, f'environment variable "{text}" is not in the KEY=VALUE format', node=item)
        elif name in pairs:
            reader.fail(field, f'environment variable "{name}" is already defined', node=item)
        elif name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
            reader.fail(field, f'environment variable "{name}" is not allowed: reserved for internal use', node=item)
        else:
            pairs[name] = value
            if not is_balanced(value):
                reader.fail(field, f'environment variable "{name}" has a quote that is not closed', node=item)
    return tuple(pairs.items())


def _run(reader: Reader, top: dict[str, Node], *, old: str | None) -> str | None:
    run = _reference(reader, top.get("run"), field="run", example="run.py:Runner")
    predict = _reference(reader, top.get("predict"), field="predict", example="predict.py:Predictor")
    if predict:
        reader.deprecated("predict", "run", node=top["predict"])
    if run and predict:
        reader.fail("run", "only one of run or predict can be set", node=top["predict"])
    if old and (run or predict):
        reader.fail("model", "is a repository where run or predict names the class", node=top["model"], value=old)
    return run or predict or old


def _reference(reader: Reader, node: Node | None, *, field: str, example: str) -> str | None:
    text = reader.text(node, field=field)
    if not text:
        return None
    path, _, name = text.partition(".py:")
    if text.count(".py:") != 1 or not path or not name.isidentifier():
        reader.fail(field, f"must be in the form '{example}'", node=node, value=text)
    return text


def _concurrency(reader: Reader, node: Node | None, *, python_version: str | None) -> int | None:
    if node is None:
        return None
    field = "concurrency.max"
    reader.deprecated("concurrency", "@cog.concurrent(max=...)", node=node)
    values = reader.mapping(node, field="concurrency", keys={"max", "default_target"})
    if "max" not in values:
        if isinstance(node, Mapping):
            reader.fail(field, "is required", node=node)
        return None
    number = reader.number(values["max"], field=field)
    if number is not None and number < 1:
        reader.fail(field, "must be at least 1", node=values["max"], value=str(number))
    if number is not None and number > 1 and python_version and sections.minor_of(python_version) < (3, 11):
        reader.fail(field, "concurrency requires Python 3.11 or higher", node=values["max"])
    return number
