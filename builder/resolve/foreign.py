"""`uv.lock`, `poetry.lock`, `pdm.lock` and `pylock.toml` as a `Graph`.  Pure: is handed texts.

Formats: docs.astral.sh/uv (`uv.lock`, version 1), python-poetry.org (lock versions 1 and 2), pdm-project.org (4),
PEP 751.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.errors import ResolveError
from builder.resolve import pyproject
from builder.resolve.graph import Dependency, File, Graph, Package

_RENEW = {
    "uv.lock": "uv lock",
    "poetry.lock": "poetry lock",
    "pdm.lock": "pdm lock",
    "pylock.toml": "uv export --format pylock.toml -o pylock.toml",
}


def read(files: pyproject.Files, *, folder: Path) -> Graph:
    """The lock in `files`, which lies in `folder`; `ResolveError` if it is not one that we understand."""
    name = files.lock_name
    try:
        document = tomllib.loads(files.lock)
    except tomllib.TOMLDecodeError as problem:
        raise ResolveError(
            f"`{name}` is not TOML", details=str(problem), hint=f"renew it with `{_RENEW[name]}`"
        ) from problem
    own = pyproject.table(files)
    readers: dict[str, Callable[..., tuple[list[Package], list[Dependency]]]] = {
        "uv.lock": _uv,
        "poetry.lock": _poetry,
        "pdm.lock": _pdm,
        "pylock.toml": _pylock,
    }
    try:
        packages, roots = readers[name](document, own=own, folder=folder)
    except ResolveError:
        raise
    except (AttributeError, KeyError, LookupError, TypeError, ValueError) as problem:
        raise ResolveError(
            f"`{name}` is not of a form that this release understands",
            details=f"{type(problem).__name__}: {problem}",
            hint=f"renew it with `{_RENEW[name]}`",
        ) from problem
    return Graph(name=name, renew=_RENEW[name], packages=tuple(packages), roots=tuple(roots))


def _uv(document: Mapping[str, Any], *, own: Mapping[str, Any], folder: Path) -> tuple[list[Package], list[Dependency]]:
    if document.get("version") != 1:
        raise ValueError(f"version {document.get('version')}")
    project = own.get("project", {})
    me = canonicalize_name(project.get("name", ""))
    packages: list[Package] = []
    roots: list[Dependency] = []
    for item in document.get("package", []):
        name, source = canonicalize_name(item["name"]), item.get("source", {})
        local = next((source[kind] for kind in ("virtual", "editable", "directory") if kind in source), None)
        if local is not None and (name == me or (not me and local == ".")):
            roots = [_uv_dependency(entry) for entry in item.get("dependencies", [])]
            continue
        extras = item.get("optional-dependencies", {})
        packages.append(
            Package(
                name=name,
                version=item.get("version", ""),
                files=tuple(_uv_file(file, source=source, folder=folder) for file in item.get("wheels", [])),
                dependencies=tuple(map(_uv_dependency, item.get("dependencies", []))),
                extras={extra: tuple(map(_uv_dependency, listed)) for extra, listed in extras.items()},
                markers=tuple(item.get("resolution-markers", [])),
                index=source["registry"] if "://" in source.get("registry", "") else "",
                source=source.get("git") or (local or "") or _archive(source.get("url") or source.get("path")),
                virtual="virtual" in source,
            )
        )
    if "dependencies" not in project.get("dynamic", ()):
        asked = _requirements(project.get("dependencies", []))
        gone = {root.name for root in roots} - {root.name for root in asked}
        if gone:
            raise ResolveError(
                "`uv.lock` does not answer the project: it is for dependencies that are not there",
                details=", ".join(sorted(gone)),
                hint="renew it with `uv lock`",
            )
        roots += asked
    return packages, roots


def _uv_dependency(item: Mapping[str, Any]) -> Dependency:
    return Dependency(
        name=canonicalize_name(item["name"]),
        marker=item.get("marker", ""),
        extras=tuple(item.get("extra", [])),
        version=item.get("version", ""),
    )


def _uv_file(file: Mapping[str, Any], *, source: Mapping[str, str], folder: Path) -> File:
    url = file.get("url", "")
    if not url and "path" in file:
        registry = source.get("registry", "")
        start = Path(_plain(registry)) if registry.startswith("file:") else folder / registry
        url = (start / file["path"]).resolve().as_uri()
    elif not url and "path" in source:
        url = (folder / source["path"]).resolve().as_uri()
    return _file(url=url, name=file.get("filename", ""), hashed=file.get("hash", ""), size=file.get("size", 0))


def _poetry(
    document: Mapping[str, Any], *, own: Mapping[str, Any], folder: Path
) -> tuple[list[Package], list[Dependency]]:
    old_files = document.get("metadata", {}).get("files", {})
    packages = []
    for item in document.get("package", []):
        source = item.get("source", {})
        kind, url = source.get("type", ""), source.get("url", "")
        direct = kind in ("url", "file")
        files = [file for file in item.get("files", old_files.get(item["name"], [])) if file["file"].endswith(".whl")]
        if direct:
            place = url if kind == "url" else (folder / url).resolve().as_uri()
            files = [{**file, "url": place} for file in files]
        packages.append(
            Package(
                name=canonicalize_name(item["name"]),
                version=item["version"],
                files=tuple(_file(url=f.get("url", ""), name=f["file"], hashed=f.get("hash", "")) for f in files),
                dependencies=tuple(_poetry_table(item.get("dependencies", {}))),
                extras={extra: tuple(_requirements(lines)) for extra, lines in item.get("extras", {}).items()},
                markers=_poetry_markers(item.get("markers")),
                requires_python=pyproject.poetry_specifier(item.get("python-versions", "*")),
                index=url if kind == "legacy" else "",
                source="" if kind in ("", "legacy") else _archive(url) if direct else f"{kind}+{url}",
            )
        )
    project = own.get("project", {})
    if "dependencies" in project:
        return packages, _requirements(project["dependencies"])
    asked = own.get("tool", {}).get("poetry", {}).get("dependencies", {})
    wanted = {
        name: value
        for name, value in asked.items()
        if name != "python" and not (isinstance(value, dict) and value.get("optional"))
    }
    return packages, list(_poetry_table(wanted))


def _poetry_table(table: Mapping[str, Any]) -> Iterable[Dependency]:
    for name, value in table.items():
        for entry in value if isinstance(value, list) else [value]:
            detail = {"version": entry} if isinstance(entry, str) else entry
            # Of an optional dependency the package's own `extras` say when it is needed.
            if detail.get("optional") and "extra" not in detail.get("markers", ""):
                continue
            python = pyproject.poetry_specifier(detail.get("python", "*"))
            markers = [detail.get("markers", ""), *(f"python_version {part}" for part in _python_parts(python))]
            yield Dependency(
                name=canonicalize_name(name),
                marker=" and ".join(f"({marker})" for marker in markers if marker),
                extras=tuple(detail.get("extras", [])),
                specifier=pyproject.poetry_specifier(detail.get("version", "*")),
            )


def _python_parts(specifier: str) -> Iterable[str]:
    for part in filter(None, specifier.split(",")):
        digits = part.lstrip("<>=!~")
        yield f"{part[: len(part) - len(digits)]} '{digits}'"


def _poetry_markers(value: Any) -> tuple[str, ...]:
    # By group since Poetry 2.0 where they differ: only the main one counts.
    if isinstance(value, dict):
        value = value.get("main")
    return (value,) if value else ()


def _pdm(
    document: Mapping[str, Any], *, own: Mapping[str, Any], folder: Path
) -> tuple[list[Package], list[Dependency]]:
    plain: dict[tuple[str, str, str], Package] = {}
    extras: dict[tuple[str, str, str], dict[str, tuple[Dependency, ...]]] = {}
    for item in document.get("package", []):
        name, marker = canonicalize_name(item["name"]), item.get("marker", "")
        key = (name, item.get("version", ""), marker)
        needed = tuple(d for d in _requirements(item.get("dependencies", [])) if d.name != name)
        if item.get("extras"):
            for extra in item["extras"]:
                extras.setdefault(key, {})[extra] = needed
            continue
        place = item.get("url", "")
        if "path" in item:
            place = (folder / item["path"]).resolve().as_uri()
        files = [
            _file(url=f.get("url", place), name=f.get("file", ""), hashed=f["hash"]) for f in item.get("files", [])
        ]
        plain[key] = Package(
            name=name,
            version=key[1],
            files=tuple(file for file in files if file.name.endswith(".whl")),
            dependencies=needed,
            extras=extras.setdefault(key, {}),
            markers=(marker,) if marker else (),
            requires_python=item.get("requires_python", ""),
            source=f"git+{item['git']}" if "git" in item else _archive(place),
        )
    return list(plain.values()), _requirements(own.get("project", {}).get("dependencies", []))


def _pylock(
    document: Mapping[str, Any], *, own: Mapping[str, Any], folder: Path
) -> tuple[list[Package], list[Dependency]]:
    packages = []
    for item in document.get("packages", []):
        listed = [*item.get("wheels", []), *([item["archive"]] if "archive" in item else [])]
        files = []
        for file in listed:
            url = file["url"] if "url" in file else (folder / file["path"]).resolve().as_uri()
            hashed = f"sha256:{file['hashes'].get('sha256', '')}"
            files.append(_file(url=url, name=file.get("name", ""), hashed=hashed, size=file.get("size", 0)))
        outside = next((kind for kind in ("vcs", "directory") if kind in item), "")
        packages.append(
            Package(
                name=canonicalize_name(item["name"]),
                version=item.get("version", ""),
                files=tuple(file for file in files if file.name.endswith(".whl")),
                markers=(item["marker"],) if "marker" in item else (),
                requires_python=item.get("requires-python", ""),
                index=item.get("index", ""),
                source=str(item[outside].get("url") or item[outside].get("path", "")) if outside else "",
            )
        )
    # Such a lock is no graph: all of it is meant, where its markers hold.
    roots = [
        Dependency(name=package.name, version=package.version, marker=package.markers[0] if package.markers else "")
        for package in packages
    ]
    return packages, [*roots, *_requirements(own.get("project", {}).get("dependencies", []))]


def _requirements(lines: Iterable[str]) -> list[Dependency]:
    found = []
    for line in lines:
        requirement = Requirement(line)
        found.append(
            Dependency(
                name=canonicalize_name(requirement.name),
                marker=str(requirement.marker or ""),
                extras=tuple(sorted(requirement.extras)),
                specifier=str(requirement.specifier),
            )
        )
    return found


def _file(*, url: str, name: str, hashed: str, size: int = 0) -> File:
    algorithm, _, digest = hashed.partition(":")
    plain = url.partition("#")[0]
    return File(
        name=name or _plain(url).rpartition("/")[2],
        sha256=digest if algorithm == "sha256" else "",
        url=plain if "://" in plain else "",
        size=size,
    )


def _plain(url: str) -> str:
    return unquote(urlsplit(url).path)


def _archive(place: str | None) -> str:
    """The address of what is no wheel, which somebody would have to build."""
    return place if place and not _plain(place).endswith(".whl") else ""
