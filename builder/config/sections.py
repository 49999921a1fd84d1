"""`build` of `cog.yaml`, and the oldest format, which called it `environment`.

Gives the fields of `Config` that come from there.  Reads no file.
"""

from __future__ import annotations

import re

from builder import config as c
from builder.config.nodes import Mapping, Node, Scalar
from builder.config.reader import Reader

BUILD = frozenset(
    [
        "python_version",
        "python_requirements",
        "python_packages",
        "system_packages",
        "run",
        "pre_install",
        "gpu",
        "cuda",
        "cudnn",
        "sdk_version",
        # ours
        "base_image",
        "nix_packages",
        "platforms",
        "python_project",
    ]
)
ELSEWHERE = dict.fromkeys(sorted(BUILD - {"run"}), "it belongs under `build`")
"""What to say of these where they stand at the top."""

_GONE = {
    "environment": "it belongs at the top of the file",
    "predict": "it belongs at the top of the file",
    "train": "it belongs at the top of the file",
    "python_extra_index_urls": "write `--extra-index-url URL` into the requirements",
    "python_find_links": "write `--find-links URL` into the requirements",
}
"""What stood in `build` in older files of Cog, or is mistaken for one of its keys."""

_OLD = frozenset(
    [
        "gpu",
        "run",
        "python_version",
        "python_requirements",
        "python_packages",
        "system_packages",
        "pre_install",
        "post_install",
        "architectures",
        "cuda",
        "cudnn",
    ]
)
"""What stood in `environment` in 2021, when it was a mapping."""

_MINIMUM_SDK = (0, 16)
_NEW_LINE = (
    "One of the commands in 'run' contains a new line, which won't work. You need to create a new list item in YAML"
    " prefixed with '-' for each command. This is the offending line: "
)


def is_old(node: Node | None) -> bool:
    """Whether the value of `environment` is that of the oldest format."""
    return isinstance(node, Mapping) and any(key.text in _OLD for key, _ in node.items)


def minor_of(version: str) -> tuple[int, int]:
    """`(3, 11)` of `3.11.2`."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def read_build(reader: Reader, top: dict[str, Node]) -> c.Config:
    """A `Config` with the fields that `build`, or an `environment` of the oldest format, gives."""
    old = top.get("environment")
    if not is_old(old):
        values = reader.mapping(top.get("build"), field="build", keys=BUILD, elsewhere=_GONE)
        return _fields(reader, values, field="build", given="build" in top)
    reader.deprecated("environment", "build", node=old)
    values = reader.mapping(old, field="environment", keys=_OLD, elsewhere=_GONE)
    if "build" in top:
        reader.fail("environment", "must be a list where there is a build section", node=old)
    if "architectures" in values:
        reader.warn("`environment.architectures` is ignored: `build.gpu` says so today", values["architectures"])
    if "post_install" in values:
        values["run"] = values.pop("post_install")
    return _fields(reader, values, field="environment", given=True)


def _fields(reader: Reader, values: dict[str, Node], *, field: str, given: bool) -> c.Config:
    def text(key: str) -> str | None:
        return reader.text(values.get(key), field=f"{field}.{key}") or None

    def texts(key: str) -> tuple[str, ...]:
        return reader.texts(values.get(key), field=f"{field}.{key}")

    version = _python_version(reader, values.get("python_version"), field=f"{field}.python_version", given=given)
    found = c.Config(
        python_version=version,
        python_requirements=text("python_requirements"),
        python_project=text("python_project"),
        python_packages=texts("python_packages"),
        system_packages=texts("system_packages"),
        commands=_commands(reader, values.get("run"), field=f"{field}.run"),
        pre_install=texts("pre_install"),
        base_image=text("base_image"),
        nix_packages=texts("nix_packages"),
        platforms=_platforms(reader, values.get("platforms")),
        gpu=reader.flag(values.get("gpu"), field=f"{field}.gpu"),
        cuda=_cuda(reader, values.get("cuda"), field=f"{field}.cuda"),
        cudnn=text("cudnn"),
        sdk_version=_sdk_version(reader, values.get("sdk_version")),
    )
    if found.gpu and found.cuda and found.cudnn:
        _check_cudnn(reader, cuda=found.cuda, cudnn=found.cudnn, node=values["cudnn"], field=f"{field}.cudnn")
    if not found.gpu:
        for key in ("cuda", "cudnn"):
            if key in values:
                reader.warn(f"`{field}.{key}` counts with `gpu: true` only", values[key])
    if found.python_requirements and found.python_packages:
        both = "only one of python_packages or python_requirements can be set, not both"
        reader.fail("build", both, node=values["python_packages"])
    if found.python_project and (found.python_requirements or found.python_packages):
        more = "only one of python_project, python_requirements and python_packages can be set"
        reader.fail("build", more, node=values["python_project"])
    if "python_packages" in values:
        reader.deprecated(f"{field}.python_packages", f"{field}.python_requirements", node=values["python_packages"])
    if "pre_install" in values:
        reader.deprecated(f"{field}.pre_install", f"{field}.run", node=values["pre_install"])
    return found


def _python_version(reader: Reader, node: Node | None, *, field: str, given: bool) -> str | None:
    text = (reader.text(node, field=field) or "").strip()
    if not text:
        if node is None and given:
            reader.warn(f"`{field}` is not set: it is chosen to suit the requirements")
        return None
    parts = text.split(".")
    low, high = (".".join(map(str, version)) for version in (c.MINIMUM_PYTHON, c.MAXIMUM_PYTHON))
    if len(parts) < 2:
        message = "must include major and minor version (e.g., '3.11')"
    elif not _is_number(parts[0]):
        message = "invalid major version number"
    elif not _is_number(parts[1]):
        message = "invalid minor version number"
    elif len(parts) > 3 or not all(map(_is_number, parts)):
        message = "must be a version such as '3.11' or '3.11.9'"
    elif minor_of(text) < c.MINIMUM_PYTHON:
        message = f"minimum supported Python version is {low}"
    elif minor_of(text) > c.MAXIMUM_PYTHON:
        message = f"maximum supported Python version is {high}"
    else:
        return ".".join(str(int(part)) for part in parts)
    reader.fail(field, message, node=node, value=text)
    return None


def _platforms(reader: Reader, node: Node | None) -> tuple[str, ...]:
    platforms: dict[str, None] = {}
    for field, item in reader.items(node, field="build.platforms", example=c.PLATFORMS[0]):
        text = reader.text(item, field=field) or ""
        if text not in c.PLATFORMS:
            reader.fail(field, f"must be one of {', '.join(c.PLATFORMS)}", node=item, value=text)
        elif text in platforms:
            reader.fail(field, "is given twice", node=item, value=text)
        platforms[text] = None
    return tuple(platforms)


def _cuda(reader: Reader, node: Node | None, *, field: str) -> str | None:
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


def _check_cudnn(reader: Reader, *, cuda: str, cudnn: str, node: Node, field: str) -> None:
    """Whether there is an image with both; of a CUDA that is not known, nothing is."""
    from builder.data.cuda import images, major

    have = sorted({row["cudnn"] for row in images(cuda=cuda)}, key=int)
    if have and major(cudnn) not in have:
        message = f"CUDA {cuda} is incompatible with CuDNN {cudnn}: compatible CuDNN versions are: {', '.join(have)}"
        reader.fail(field, message, node=node)


def _sdk_version(reader: Reader, node: Node | None) -> str | None:
    field = "build.sdk_version"
    text = reader.text(node, field=field)
    if not text:
        return None
    release = re.match(r"(\d{1,9})\.(\d{1,9})(?:[.+\-a-z]|\Z)", text)
    if text != "prerelease" and not release:
        reader.fail(field, "must be a version such as '0.17.0', or 'prerelease'", node=node, value=text)
    elif release and (int(release[1]), int(release[2])) < _MINIMUM_SDK:
        reader.fail(field, f"cog version {text} is below the minimum required version 0.16.0", node=node)
    reader.warn(f"`{field}` is ignored: images hold the SDK of Cogsmith", node)
    return text


def _commands(reader: Reader, node: Node | None, *, field: str) -> tuple[c.Command, ...]:
    commands: list[c.Command] = []
    for name, item in reader.items(node, field=field, example="COMMAND"):
        mounts: tuple[c.Mount, ...] = ()
        if isinstance(item, Mapping) and (written := _with_colon(item)):
            reader.fail(name, f"a command with a colon needs quotes: write `- {written}`", node=item)
            continue
        if isinstance(item, Mapping):
            values = reader.mapping(item, field=name, keys={"command", "mounts"})
            text = reader.text(values.get("command"), field=f"{name}.command")
            mounts = _mounts(reader, values.get("mounts"), field=f"{name}.mounts")
            if text is None:
                reader.fail(name, "command is required", node=item)
        else:
            text = reader.text(item, field=name)
        text = (text or "").strip()
        if "\n" in text:
            reader.fail(name, _NEW_LINE + next(line for line in text.splitlines() if line), node=item)
        if text:
            commands.append(c.Command(command=text, mounts=mounts))
    return tuple(commands)


def _with_colon(item: Mapping) -> str:
    """`echo a: b`, which is a mapping to YAML, in quotes; empty if the item is another one."""
    if len(item.items) != 1:
        return ""
    key, value = item.items[0]
    if key.text in {"command", "mounts"} or not isinstance(value, Scalar):
        return ""
    return "'" + f"{key.text}: {value.text}".rstrip().replace("'", "''") + "'"


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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
