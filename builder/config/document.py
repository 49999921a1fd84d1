"""The keys of `cog.yaml` and what may stand there (spec of Cog, section 1).  Reads no file but the one it is given."""

from __future__ import annotations

import re
from pathlib import Path

from builder import config as c
from builder.config.nodes import Mapping, Node, parse
from builder.config.reader import Problem, Reader, is_null
from builder.config.weights import read_model, read_weights
from builder.errors import ConfigError

_TOP = frozenset(["build", "run", "predict", "train", "image", "model", "concurrency", "environment", "weights"])
_BUILD = frozenset(
    [
        "python_version",
        "python_requirements",
        "python_packages",
        "system_packages",
        "run",
        "pre_install",
        "base_image",
        "gpu",
        "cuda",
        "cudnn",
        "sdk_version",
    ]
)
_MINIMUM_PYTHON = (3, 10)
_MINIMUM_SDK = (0, 16)

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

_NEW_LINE = (
    "One of the commands in 'run' contains a new line, which won't work. You need to create a new list item in YAML"
    " prefixed with '-' for each command. This is the offending line: "
)


def read(text: str, *, path: Path) -> c.Config:
    """The `Config` in `text`; a `ConfigError` with all problems."""
    reader = Reader()
    top = reader.mapping(parse(text, path=path), field="", keys=_TOP)
    config = _config(reader, top)
    if reader.problems:
        many = len(reader.problems)
        raise ConfigError(
            f"`{path}` has {'a problem' if many == 1 else f'{many} problems'}",
            details="\n".join(map(str, sorted(reader.problems, key=Problem.place))),
        )
    return config


def _config(reader: Reader, top: dict[str, Node]) -> c.Config:
    build = reader.mapping(top.get("build"), field="build", keys=_BUILD)
    image = reader.text(top.get("image"), field="image") or None
    model = read_model(reader, top.get("model"))
    if image and model:
        reader.fail("model", "'model' and 'image' cannot both be set", node=top["model"])
    weights = read_weights(reader, top.get("weights"))
    if weights and not model:
        reader.fail("weights", "weights require 'model' in cog.yaml — rename 'image' to 'model'", node=top["weights"])
    version = _python_version(reader, build.get("python_version"))
    requirements = reader.text(build.get("python_requirements"), field="build.python_requirements") or None
    packages = reader.texts(build.get("python_packages"), field="build.python_packages")
    if requirements and packages:
        both = "only one of python_packages or python_requirements can be set, not both"
        reader.fail("build", both, node=build["python_packages"])
    _deprecations(reader, top=top, build=build)
    return c.Config(
        python_version=version,
        python_requirements=requirements,
        python_packages=packages,
        system_packages=reader.texts(build.get("system_packages"), field="build.system_packages"),
        commands=_commands(reader, build.get("run")),
        pre_install=reader.texts(build.get("pre_install"), field="build.pre_install"),
        base_image=reader.text(build.get("base_image"), field="build.base_image") or None,
        gpu=reader.flag(build.get("gpu"), field="build.gpu"),
        cuda=_cuda(reader, build.get("cuda")),
        cudnn=reader.text(build.get("cudnn"), field="build.cudnn") or None,
        sdk_version=_sdk_version(reader, build.get("sdk_version")),
        environment=_environment(reader, top.get("environment")),
        run=_run(reader, top),
        train=_reference(reader, top.get("train"), field="train", example="train.py:Trainer"),
        image=image,
        model=model,
        concurrency=_concurrency(reader, top.get("concurrency"), python_version=version),
        weights=weights,
        warnings=tuple(reader.warnings),
    )


def _deprecations(reader: Reader, *, top: dict[str, Node], build: dict[str, Node]) -> None:
    old = {
        "predict": "run" if "predict" in top else None,
        "concurrency": "@cog.concurrent(max=...)" if "concurrency" in top else None,
        "build.python_packages": "build.python_requirements" if "python_packages" in build else None,
        "build.pre_install": "build.run" if "pre_install" in build else None,
    }
    for field, instead in old.items():
        if instead:
            reader.warn(f'deprecated field "{field}": use "{instead}" instead')


def _python_version(reader: Reader, node: Node | None) -> str:
    field = "build.python_version"
    text = reader.text(node, field=field)
    if text is None:
        if node is None:
            reader.warn(f'`{field}` is not set: taking "{c.DEFAULT_PYTHON}"')
        return c.DEFAULT_PYTHON
    parts = text.strip().split(".")
    if len(parts) < 2:
        message = "must include major and minor version (e.g., '3.11')"
    elif not _is_number(parts[0]):
        message = "invalid major version number"
    elif not _is_number(parts[1]):
        message = "invalid minor version number"
    elif len(parts) > 3 or not all(map(_is_number, parts)):
        message = "must be a version such as '3.11' or '3.11.9'"
    elif (int(parts[0]), int(parts[1])) < _MINIMUM_PYTHON:
        message = "minimum supported Python version is 3.10"
    else:
        return ".".join(str(int(part)) for part in parts)
    reader.fail(field, message, node=node, value=text)
    return c.DEFAULT_PYTHON


def _cuda(reader: Reader, node: Node | None) -> str | None:
    field = "build.cuda"
    text = reader.text(node, field=field)
    if not text:
        return None
    parts = text.split(".")
    if len(parts) < 2:
        reader.fail(field, "must include both major and minor versions (e.g., '11.8')", node=node, value=text)
    elif not _is_number(parts[0]):
        reader.fail(field, "invalid major version number", node=node, value=text)
    elif not all(map(_is_number, parts)):
        reader.fail(field, "invalid minor version number", node=node, value=text)
    elif int(parts[0]) < 11:
        reader.fail(field, "minimum supported CUDA version is 11", node=node, value=text)
    return text


def _sdk_version(reader: Reader, node: Node | None) -> str | None:
    field = "build.sdk_version"
    text = reader.text(node, field=field)
    if not text:
        return None
    release = re.match(r"(\d+)\.(\d+)(?:[.+\-a-z]|\Z)", text)
    if text != "prerelease" and not release:
        reader.fail(field, "must be a version such as '0.17.0', or 'prerelease'", node=node, value=text)
    elif release and (int(release[1]), int(release[2])) < _MINIMUM_SDK:
        reader.fail(field, f"cog version {text} is below the minimum required version 0.16.0", node=node)
    reader.warn(f"`{field}` is ignored: images hold the SDK of Cogsmith")
    return text


def _commands(reader: Reader, node: Node | None) -> tuple[c.Command, ...]:
    commands: list[c.Command] = []
    for field, item in reader.items(node, field="build.run"):
        mounts: tuple[c.Mount, ...] = ()
        if isinstance(item, Mapping):
            values = reader.mapping(item, field=field, keys={"command", "mounts"})
            text = reader.text(values.get("command"), field=f"{field}.command")
            mounts = _mounts(reader, values.get("mounts"), field=f"{field}.mounts")
            if text is None:
                reader.fail(field, "command is required", node=item)
        else:
            text = reader.text(item, field=field)
        text = (text or "").strip()
        if "\n" in text:
            reader.fail(field, _NEW_LINE + next(line for line in text.splitlines() if line), node=item)
        if text:
            commands.append(c.Command(command=text, mounts=mounts))
    return tuple(commands)


def _mounts(reader: Reader, node: Node | None, *, field: str) -> tuple[c.Mount, ...]:
    mounts: list[c.Mount] = []
    for name, item in reader.items(node, field=field):
        values = reader.mapping(item, field=name, keys={"type", "id", "target"})
        texts = {key: reader.text(values.get(key), field=f"{name}.{key}") for key in ("type", "id", "target")}
        for key, text in texts.items():
            if not text:
                reader.fail(name, f"{key} is required", node=item)
        if texts["type"] and texts["type"] != "secret":
            reader.fail(f"{name}.type", "must be 'secret'", node=values["type"], value=texts["type"])
        mounts.append(c.Mount(type=texts["type"] or "", id=texts["id"] or "", target=texts["target"] or ""))
    return tuple(mounts)


def _environment(reader: Reader, node: Node | None) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for field, item in reader.items(node, field="environment"):
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
    return tuple(pairs.items())


def _run(reader: Reader, top: dict[str, Node]) -> str | None:
    run = _reference(reader, top.get("run"), field="run", example="run.py:Runner")
    predict = _reference(reader, top.get("predict"), field="predict", example="predict.py:Predictor")
    if run and predict:
        reader.fail("run", "only one of run or predict can be set", node=top["predict"])
    return run or predict


def _reference(reader: Reader, node: Node | None, *, field: str, example: str) -> str | None:
    text = reader.text(node, field=field)
    if not text:
        return None
    path, _, name = text.partition(".py:")
    if text.count(".py:") != 1 or not path or not name.isidentifier():
        reader.fail(field, f"must be in the form '{example}'", node=node, value=text)
    return text


def _concurrency(reader: Reader, node: Node | None, *, python_version: str) -> int | None:
    if node is None:
        return None
    field = "concurrency.max"
    values = reader.mapping(node, field="concurrency", keys={"max", "default_target"})
    if "max" not in values:
        reader.fail(field, "is required", node=node)
        return None
    number = reader.number(values["max"], field=field)
    if number is not None and number < 1:
        reader.fail(field, "must be at least 1", node=values["max"], value=str(number))
    if number is not None and number > 1 and tuple(map(int, python_version.split(".")[:2])) < (3, 11):
        reader.fail(field, "concurrency requires Python 3.11 or higher", node=values["max"])
    return number


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
