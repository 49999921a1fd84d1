"""`build.python_project`: a `pyproject.toml` and the lock file of uv, Poetry or PDM that belongs to it.

What a resolution depends on is one text, which the project's hash covers: `Files.dumps`.  Main dependencies only; the
project itself is not installed, as its code is in `/src`.  Imports little: each build reads these files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.errors import ConfigError
from builder.frozen import frozen
from builder.report import Report

NAME = "pyproject.toml"
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
"""By preference."""


@frozen
class Files:
    """The text of `pyproject.toml` and of the lock beside it; `folder` is the lock's, relative to the project's."""

    pyproject: str
    lock_name: str = ""
    lock: str = ""
    folder: str = ""
    others: tuple[str, ...] = ()
    """Lock files that do not count."""

    def dumps(self) -> str:
        """The files as one text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def loads(text: str) -> Files:
    """The files that `Files.dumps` made `text` of."""
    data = json.loads(text)
    return Files(**{**data, "others": tuple(data["others"])})


def find_files(project: Path, *, name: str) -> Files:
    """Read the files that `name` (a `pyproject.toml` or its folder, as in `cog.yaml`) means.

    The lock lies beside it, or above it in the project: a workspace has one lock at its top.
    """
    path = project / name
    if path.is_dir():
        path /= NAME
    text = _read(path, named=name)
    folder = path.parent
    inside = folder.resolve().is_relative_to(project.resolve())
    while True:
        found = [lock for lock in LOCKS if (folder / lock).is_file()]
        if found or not inside or folder.resolve() == project.resolve():
            break
        folder = folder.parent
    if not found:
        return Files(pyproject=text)
    lock = _read(folder / found[0], named=found[0])
    return Files(
        pyproject=text, lock_name=found[0], lock=lock, folder=_relative(folder, project), others=tuple(found[1:])
    )


def _relative(folder: Path, project: Path) -> str:
    """The same on each machine, for the project's hash."""
    try:
        return folder.resolve().relative_to(project.resolve()).as_posix()
    except ValueError:
        return folder.as_posix()


def _read(path: Path, *, named: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as problem:
        raise ConfigError(
            f'invalid build.python_project "{named}": file does not exist',
            hint=f"create `{path}`, or correct the name in `cog.yaml`",
        ) from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"could not read `{path}`: {problem}", hint="it must be UTF-8 text") from problem


def table(files: Files) -> dict[str, Any]:
    """The parsed `pyproject.toml`."""
    import tomllib

    try:
        return tomllib.loads(files.pyproject)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(f"`{NAME}` is not TOML", details=str(problem)) from problem


def requires_python(document: Mapping[str, Any]) -> str:
    """The Pythons that the project is for, as a specifier (PEP 440); empty: any, or one that Poetry alone reads."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    text = _dig(document, "project").get("requires-python")
    if text is not None:
        try:
            return str(SpecifierSet(text if isinstance(text, str) else "?"))
        except InvalidSpecifier as problem:
            raise ConfigError(
                f"`project.requires-python` in `{NAME}` is no range of versions",
                details=str(problem),
                hint='write it as in `requires-python = ">=3.10"`',
            ) from problem
    own = _dig(document, "tool", "poetry", "dependencies").get("python")
    return poetry_specifier(own) if isinstance(own, str) else ""


def requirement_lines(files: Files, *, report: Report) -> tuple[str, ...]:
    """What a project without a lock needs, as lines of a requirements file; `ConfigError` if these cannot say it."""
    document = table(files)
    project = _dig(document, "project")
    if "dependencies" in _list(project.get("dynamic")):
        raise ConfigError(
            f"the dependencies in `{NAME}` are dynamic: only running its build would tell them",
            hint="list them under `[project]`, or lock the project (`uv lock`, `poetry lock`, `pdm lock`)",
        )
    if "dependencies" not in project and _dig(document, "tool", "poetry", "dependencies"):
        raise ConfigError(
            f"the dependencies in `{NAME}` are Poetry's own, and there is no `poetry.lock`",
            hint="run `poetry lock`, or list them under `[project]`",
        )
    sources = sorted(_dig(document, "tool", "uv", "sources"))
    if sources:
        raise ConfigError(
            f"`tool.uv.sources` in `{NAME}` says where packages come from, and only `uv.lock` can tell",
            details=", ".join(sources),
            hint="run `uv lock`",
        )
    lines = project.get("dependencies", [])
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ConfigError(f"`project.dependencies` in `{NAME}` must be a list of text")
    if not project:
        report.warn(f"`{NAME}` has no `[project]`: the image has no Python packages")
    found = []
    for _, url, default in indexes(document):
        found.append(f"{'--index-url' if default else '--extra-index-url'} {url}")
    return (*found, *lines)


def named_indexes(text: str) -> tuple[tuple[str, str], ...]:
    """Names and URLs of the indexes that a project declares; `text` is what `Files.dumps` gave, or anything else."""
    if not text.startswith("{"):
        return ()
    try:
        return tuple((name, url) for name, url, _ in indexes(table(loads(text))))
    except (ConfigError, KeyError, TypeError, ValueError):
        return ()


def indexes(document: Mapping[str, Any]) -> tuple[tuple[str, str, bool], ...]:
    """The indexes that the project declares for uv, Poetry or PDM: name, URL, whether it replaces the default one."""
    found: list[tuple[str, str, bool]] = []
    for tool, key in (("uv", "index"), ("poetry", "source"), ("pdm", "source")):
        entries = _dig(document, "tool", tool).get(key, [])
        for entry in _list(entries):
            if isinstance(entry, dict) and isinstance(entry.get("url"), str):
                default = entry.get("default") is True or entry.get("priority") == "default"
                found.append((str(entry.get("name", "")), entry["url"], default))
    return tuple(found)


def poetry_specifier(text: str) -> str:
    """Poetry's `^1.2`, `~1.2`, `1.*` as a specifier of PEP 440; empty where that has no words for it (`||`)."""
    if "|" in text:
        return ""
    made = []
    for part in filter(None, (part.strip() for part in text.replace(" ", ",").split(","))):
        numbers = part[1:].lstrip("=").split(".")
        if part == "*":
            continue
        if part[0] not in "^~" or part.startswith("~="):
            made.append(part if part[0] in "<>=!~" else f"=={part}")
        elif not all(number.isdecimal() for number in numbers):
            return ""
        else:
            kept = 1 if part[0] == "~" and len(numbers) == 1 else 2
            if part[0] == "^":
                kept = next((at for at, number in enumerate(numbers) if int(number)), len(numbers) - 1) + 1
            upper = [*numbers[: kept - 1], str(int(numbers[kept - 1]) + 1)]
            made += [f">={'.'.join(numbers)}", f"<{'.'.join(upper)}"]
    return ",".join(made)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dig(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    value: Any = document
    for key in keys:
        value = value.get(key, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, dict) else {}
