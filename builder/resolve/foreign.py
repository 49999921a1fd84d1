"""`uv.lock`, `poetry.lock`, `pdm.lock` and `pylock.toml` as a `Graph`.  Pure: is handed texts.

Formats: docs.astral.sh/uv (`uv.lock`, version 1), python-poetry.org (lock versions 1 and 2), pdm-project.org (4),
PEP 751.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.errors import ResolveError
from builder.resolve import pyproject
from builder.resolve.graph import Dependency, File, Graph, Origin, Package

_RENEW = {
    "uv.lock": "uv lock",
    "poetry.lock": "poetry lock",
    "pdm.lock": "pdm lock",
    "pylock.toml": "uv export --format pylock.toml -o pylock.toml",
}


_ARCHIVES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")


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
        scope = _scope(name, document)
    except ResolveError:
        raise
    except (AttributeError, KeyError, LookupError, TypeError, ValueError) as problem:
        raise ResolveError(
            f"`{name}` is not of a form that this release understands",
            details=f"{type(problem).__name__}: {problem}",
            hint=f"renew it with `{_RENEW[name]}`",
        ) from problem
    return Graph(name=name, renew=_RENEW[name], packages=tuple(packages), roots=tuple(roots), **scope)


def _scope(name: str, document: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """For which Pythons and machines a lock is, and which groups of it are meant."""
    metadata = document.get("metadata", {})
    pythons = {
        "uv.lock": [document.get("requires-python", "")],
        "poetry.lock": [pyproject.poetry_specifier(metadata.get("python-versions", "*"))],
        "pdm.lock": [target.get("requires_python", "") for target in metadata.get("targets", [])],
        "pylock.toml": [document.get("requires-python", "")],
    }[name]
    return {
        "pythons": tuple(pythons) if all(pythons) else (),
        "markers": tuple(document.get("supported-markers", document.get("environments", []))),
        "groups": tuple(document.get("default-groups", [])),
    }


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
                sdist=_uv_file(item["sdist"], source=source, folder=folder) if "sdist" in item else None,
                origin=_uv_origin(item, folder=folder),
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


def _uv_origin(item: Mapping[str, Any], *, folder: Path) -> Origin | None:
    source = item.get("source", {})
    for kind in ("directory", "editable"):
        if kind in source:
            return Origin(kind="directory", place=_uri(folder / source[kind]))
    if "git" in source:
        url, _, commit = source["git"].partition("#")
        url, _, query = url.partition("?")
        below = parse_qs(query).get("subdirectory", [""])[0]
        return Origin(kind="git", place=url, commit=commit, subdirectory=below)
    if "url" not in source and "path" not in source:
        return None
    place = source["url"] if "url" in source else _uri(folder / source["path"])
    hashed = item.get("sdist", {}).get("hash", "")
    return _archive(place, hashed=hashed, subdirectory=source.get("subdirectory", ""))


def _poetry(
    document: Mapping[str, Any], *, own: Mapping[str, Any], folder: Path
) -> tuple[list[Package], list[Dependency]]:
    old_files = document.get("metadata", {}).get("files", {})
    packages = []
    for item in document.get("package", []):
        source = item.get("source", {})
        kind, url = source.get("type", ""), source.get("url", "")
        direct = kind in ("url", "file")
        listed = item.get("files", old_files.get(item["name"], []))
        files = [file for file in listed if file["file"].endswith(".whl")]
        origin = None
        if direct:
            place = url if kind == "url" else _uri(folder / url)
            files = [{**file, "url": place} for file in files]
            hashed = listed[0].get("hash", "") if listed else ""
            origin = _archive(place, hashed=hashed, subdirectory=source.get("subdirectory", ""))
        elif kind not in ("", "legacy"):
            origin = _poetry_origin(source, folder=folder)
        packages.append(
            Package(
                name=canonicalize_name(item["name"]),
                version=item["version"],
                files=tuple(_file(url=f.get("url", ""), name=f["file"], hashed=f.get("hash", "")) for f in files),
                dependencies=tuple(_poetry_table(item.get("dependencies", {}))),
                extras={
                    canonicalize_name(extra): tuple(_requirements(lines))
                    for extra, lines in item.get("extras", {}).items()
                },
                markers=_poetry_markers(item.get("markers")),
                requires_python=pyproject.poetry_specifier(item.get("python-versions", "*")),
                index=url if kind == "legacy" else "",
                sdist=None if direct else _sdist(listed),
                origin=origin,
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


def _poetry_origin(source: Mapping[str, Any], *, folder: Path) -> Origin:
    below = source.get("subdirectory", "")
    if source["type"] == "directory":
        return Origin(kind="directory", place=_uri(folder / source["url"]), subdirectory=below)
    _only_git(source["type"])
    return Origin(kind="git", place=source["url"], commit=source["resolved_reference"], subdirectory=below)


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
                extras=tuple(map(canonicalize_name, detail.get("extras", []))),
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
                extras.setdefault(key, {})[canonicalize_name(extra)] = needed
            continue
        place = item.get("url", "")
        if "path" in item:
            place = _uri(folder / item["path"])
        listed = item.get("files", [])
        files = [_file(url=f.get("url", place), name=f.get("file", ""), hashed=f["hash"]) for f in listed]
        plain[key] = Package(
            name=name,
            version=key[1],
            files=tuple(file for file in files if file.name.endswith(".whl")),
            dependencies=needed,
            extras=extras.setdefault(key, {}),
            markers=(marker,) if marker else (),
            requires_python=item.get("requires_python", ""),
            sdist=None if place else _sdist(listed),
            origin=_pdm_origin(item, place=place),
        )
    return list(plain.values()), _requirements(own.get("project", {}).get("dependencies", []))


def _pdm_origin(item: Mapping[str, Any], *, place: str) -> Origin | None:
    below = item.get("subdirectory", "")
    system = next((name for name in ("git", "hg", "svn", "bzr") if name in item), "")
    if system:
        _only_git(system)
        return Origin(kind="git", place=item[system], commit=item["revision"], subdirectory=below)
    if "path" in item and not _plain(place).endswith((*_ARCHIVES, ".whl")):
        return Origin(kind="directory", place=place, subdirectory=below)
    hashed = next((file["hash"] for file in item.get("files", [])), "")
    return _archive(place, hashed=hashed, subdirectory=below)


def _pylock(
    document: Mapping[str, Any], *, own: Mapping[str, Any], folder: Path
) -> tuple[list[Package], list[Dependency]]:
    if str(document.get("lock-version", "1.0")).partition(".")[0] != "1":
        raise ValueError(f"lock-version {document['lock-version']}")
    packages = []
    for item in document.get("packages", []):
        listed = [*item.get("wheels", []), *([item["archive"]] if "archive" in item else [])]
        files = [_pylock_file(file, folder=folder) for file in listed]
        sdist = item.get("sdist")
        packages.append(
            Package(
                name=canonicalize_name(item["name"]),
                version=item.get("version", ""),
                files=tuple(file for file in files if file.name.endswith(".whl")),
                markers=(item["marker"],) if "marker" in item else (),
                requires_python=item.get("requires-python", ""),
                index=item.get("index", ""),
                sdist=_pylock_file(sdist, folder=folder) if sdist else None,
                origin=_pylock_origin(item, folder=folder),
            )
        )
    # Such a lock is no graph: all of it is meant, where its markers hold.
    roots = [
        Dependency(name=package.name, version=package.version, marker=package.markers[0] if package.markers else "")
        for package in packages
    ]
    return packages, [*roots, *_requirements(own.get("project", {}).get("dependencies", []))]


def _pylock_file(file: Mapping[str, Any], *, folder: Path) -> File:
    url = file["url"] if "url" in file else _uri(folder / file["path"])
    hashed = f"sha256:{file['hashes'].get('sha256', '')}"
    return _file(url=url, name=file.get("name", ""), hashed=hashed, size=file.get("size", 0))


def _pylock_origin(item: Mapping[str, Any], *, folder: Path) -> Origin | None:
    for kind in ("vcs", "directory", "archive"):
        if kind in item:
            detail = item[kind]
            place = detail["url"] if "url" in detail else _uri(folder / detail["path"])
            below = detail.get("subdirectory", "")
            if kind == "archive":
                hashed = f"sha256:{detail['hashes'].get('sha256', '')}"
                return _archive(place, hashed=hashed, subdirectory=below)
            if kind == "directory":
                return Origin(kind="directory", place=place, subdirectory=below)
            _only_git(detail["type"])
            return Origin(kind="git", place=place, commit=detail["commit-id"], subdirectory=below)
    return None


def _requirements(lines: Iterable[str]) -> list[Dependency]:
    found = []
    for line in lines:
        requirement = Requirement(line)
        found.append(
            Dependency(
                name=canonicalize_name(requirement.name),
                marker=str(requirement.marker or ""),
                extras=tuple(sorted(map(canonicalize_name, requirement.extras))),
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


def _uri(path: Path) -> str:
    return path.resolve().as_uri()


def _sdist(files: Iterable[Mapping[str, Any]]) -> File | None:
    """The source among the files of a package that an index has; a tar before a zip."""
    found = [file for file in files if file.get("file", "").endswith(_ARCHIVES)]
    found.sort(key=lambda file: file["file"].endswith(".zip"))
    return _file(url="", name=found[0]["file"], hashed=found[0].get("hash", "")) if found else None


def _archive(place: str, *, hashed: str, subdirectory: str) -> Origin | None:
    """An archive that is no wheel, if `place` is one."""
    if not place or _plain(place).endswith(".whl"):
        return None
    algorithm, _, digest = hashed.partition(":")
    plain = place.partition("#")[0]
    return Origin(
        kind="archive", place=plain, sha256=digest if algorithm == "sha256" else "", subdirectory=subdirectory
    )  # fmt: skip


def _only_git(system: str) -> None:
    if system != "git":
        raise ResolveError(
            f"of version control systems only git is known, and the lock names one for {system}",
            hint="name an archive, or a wheel",
        )
