"""The packages of another tool's lock file as a graph, and those of them that one image needs.

Pure: reads nothing; `foreign` makes the graph, `locked` finds the files.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from builder.errors import ResolveError
from builder.frozen import frozen
from builder.resolve.wheels import UnsatisfiableError

Variables: TypeAlias = Mapping[str, str | frozenset[str]]

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@frozen
class File:
    """A file that a lock names; `url` (http, https or `file:`) is empty where it is left to the index."""

    name: str
    sha256: str = ""
    url: str = ""
    size: int = 0


@frozen
class Dependency:
    """What is needed, when (`marker`), with which extras; `version` is exact, `specifier` a range, empty any."""

    name: str
    marker: str = ""
    extras: tuple[str, ...] = ()
    specifier: str = ""
    version: str = ""


@frozen
class Origin:
    """Where a package comes from that no index has: an archive, a repository at `commit`, or a folder.

    `place` is a URL, `file:` for what is on this disk; `sha256` (of an archive) may be empty.
    """

    kind: Literal["archive", "git", "directory"]
    place: str
    sha256: str = ""
    commit: str = ""
    subdirectory: str = ""


@frozen
class Package:
    """One version of a package.

    It applies where any of `markers` holds (none: everywhere) and to Pythons in `requires_python`.  `index` is the
    URL of the index it comes from, where the lock says so.  `files` are its wheels, `sdist` its source in an index;
    `origin` is where its source comes from if that is no index.  A `virtual` one is only its dependencies.
    """

    name: str
    version: str
    files: tuple[File, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    extras: Mapping[str, tuple[Dependency, ...]] = dataclasses.field(default_factory=dict)
    markers: tuple[str, ...] = ()
    requires_python: str = ""
    index: str = ""
    sdist: File | None = None
    origin: Origin | None = None
    virtual: bool = False


@frozen
class Graph:
    """A lock file: `name` of the file, `renew` the command that makes it, what the project itself needs.

    It is for Pythons in any of `pythons` and where any of `markers` holds (none: everywhere), for what it leaves out
    is not needed there.  `groups` are the dependency groups that are installed unless one says otherwise (PEP 751).
    """

    name: str
    renew: str
    packages: tuple[Package, ...]
    roots: tuple[Dependency, ...]
    pythons: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def environment(*, python_version: str, platform: str) -> dict[str, str]:
    """The variables of markers (PEP 508) for CPython `python_version` (`3.11.2`) on `platform` (`linux/amd64`)."""
    return {
        "implementation_name": "cpython",
        "implementation_version": python_version,
        "os_name": "posix",
        "platform_machine": _MACHINES.get(platform.partition("/")[2], ""),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python_version,
        "python_version": ".".join(python_version.split(".")[:2]),
        "sys_platform": "linux",
    }


def select(graph: Graph, *, variables: Mapping[str, str]) -> tuple[Package, ...]:
    """The packages that the project needs where `variables` hold (see `environment`), sorted by name.

    `ResolveError` where the lock does not answer the project; `UnsatisfiableError` where another Python would help.
    """
    try:
        return _select(graph, variables=variables)
    except ValueError as problem:  # a marker, a version or a range that is none (all of `packaging` say so)
        raise ResolveError(
            f"`{graph.name}` is not of a form that this release understands",
            details=f"{type(problem).__name__}: {problem}",
            hint=f"renew it with `{graph.renew}`",
        ) from problem


def _select(graph: Graph, *, variables: Variables) -> tuple[Package, ...]:
    _check_scope(graph, variables=variables)
    variables = {**variables, "extras": frozenset(), "dependency_groups": frozenset(graph.groups)}
    by_name: dict[str, list[Package]] = {}
    for package in graph.packages:
        by_name.setdefault(package.name, []).append(package)
    chosen: dict[str, Package] = {}
    seen: dict[str, set[str]] = {}
    queue = deque((dependency, frozenset[str]()) for dependency in graph.roots)
    while queue:
        dependency, active = queue.popleft()
        if not _holds(dependency.marker, variables, extras=active):
            continue
        name = dependency.name
        first = name not in chosen
        if first:
            chosen[name] = _find(dependency, by_name.get(name, ()), graph=graph, variables=variables)
        elif not _fits(dependency, chosen[name]):
            raise _stale(graph, dependency, [chosen[name]])
        package, known = chosen[name], seen.setdefault(name, set())
        new = set(dependency.extras) - known
        known |= new
        if first or new:
            queue.extend((needed, frozenset(known)) for needed in package.dependencies)
        for extra in sorted(new):
            queue.extend((needed, frozenset({extra})) for needed in package.extras.get(extra, ()))
    return tuple(chosen[name] for name in sorted(chosen) if not chosen[name].virtual)


def _check_scope(graph: Graph, *, variables: Variables) -> None:
    python = str(variables["python_full_version"])
    if graph.pythons and not any(SpecifierSet(text).contains(python, prereleases=True) for text in graph.pythons):
        raise UnsatisfiableError(
            f"`{graph.name}` is for Python {' or '.join(graph.pythons)}, and the image has {python}",
            hint=f"set `build.python_version` to one that it is for, or renew it with `{graph.renew}`",
        )
    if graph.markers and not any(_holds(marker, variables, extras=frozenset()) for marker in graph.markers):
        raise ResolveError(
            f"`{graph.name}` is for other machines than Linux on {variables['platform_machine']} with Python {python}",
            details="\n".join(graph.markers),
            hint=f"name this one too where the lock's environments are declared, and renew it with `{graph.renew}`",
        )


def _find(dependency: Dependency, candidates: Sequence[Package], *, graph: Graph, variables: Variables) -> Package:
    fitting = [package for package in candidates if _fits(dependency, package)]
    here = [
        package
        for package in fitting
        if not package.markers or any(_holds(marker, variables, extras=frozenset()) for marker in package.markers)
    ]
    if not here:
        raise _stale(graph, dependency, candidates)
    python = Version(str(variables["python_full_version"]))
    usable = [p for p in here if SpecifierSet(p.requires_python).contains(python, prereleases=True)]
    if not usable:
        raise UnsatisfiableError(
            f"`{dependency.name}` {here[0].version} of {graph.name} needs Python {here[0].requires_python}",
            details=f"the image has Python {python}",
            hint=f"set `build.python_version`, or lock again for Python {python.major}.{python.minor}",
        )
    return max(usable, key=lambda package: Version(package.version or "0"))


def _fits(dependency: Dependency, package: Package) -> bool:
    if dependency.version:
        return package.version == dependency.version
    if not dependency.specifier or not package.version:
        return True
    return SpecifierSet(dependency.specifier).contains(Version(package.version), prereleases=True)


def _stale(graph: Graph, dependency: Dependency, candidates: Sequence[Package]) -> ResolveError:
    wanted = (dependency.version and f"=={dependency.version}") or dependency.specifier
    have = ", ".join(sorted({package.version for package in candidates}))
    return ResolveError(
        f"`{graph.name}` does not answer the project: `{dependency.name}{wanted}` is not in it",
        details=f"it has {dependency.name} {have}" if have else None,
        hint=f"renew it with `{graph.renew}`",
    )


def _holds(marker: str, variables: Variables, *, extras: frozenset[str]) -> bool:
    if not marker:
        return True
    parsed = Marker(marker)
    return any(parsed.evaluate({**variables, "extra": extra}) for extra in extras or {""})
