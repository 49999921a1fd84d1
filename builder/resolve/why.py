"""Why a package is in an image: chains from what the project asks for, by what wheels and debs say that they need.

The graph is made from METADATA and control files, so it is that of the locked set, whichever tool locked it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder.errors import CogsmithError
from builder.frozen import frozen
from builder.layers import deb
from builder.lock import Lock
from builder.plan import Deb
from builder.resolve import repository
from builder.resolve.indexes import without_user
from builder.resolve.metadata import Metadata
from builder.resolve.requirements import SourceLine
from builder.store import Store

_WHEEL = re.compile(r"(?:https?|file)://[^\s#?;]*/([^\s/#?;]+\.whl)(?=[\s#?;]|\Z)")

Chain = tuple[str, ...]
"""Names from one that was asked for to the package itself."""


@frozen
class Root:
    """A package that the project asks for, with these extras."""

    name: str
    extras: tuple[str, ...] = ()


def roots(lines: Iterable[str]) -> tuple[Root, ...]:
    """What requirement lines ask for; lines that are options say nothing of that."""
    found = []
    for line in lines:
        text = line.strip()
        wheel = _WHEEL.match(text)
        try:
            if wheel:
                found.append(Root(name=parse_wheel_filename(unquote(wheel[1]))[0]))
            elif text and not text.startswith("-"):
                requirement = Requirement(text)
                extras = tuple(sorted(map(canonicalize_name, requirement.extras)))
                found.append(Root(name=canonicalize_name(requirement.name), extras=extras))
        except (InvalidRequirement, InvalidWheelFilename):
            continue
    return tuple(found)


def source_roots(sources: Iterable[SourceLine], *, lock: Lock, project: Path) -> tuple[Root, ...]:
    """What requirements that name a source ask for; of one without a name the lock knows what was built from it."""
    names = {wheel.sha256: wheel.name for wheel in lock.wheels}
    places = {item.url: names[item.sha256] for item in lock.built if item.sha256 in names}
    found = []
    for line in sources:
        path = Path(line.place)
        if line.kind == "git":
            place = repository.public(repository.split(line.place)[0])
        elif path.is_relative_to(project.resolve()):
            place = path.relative_to(project.resolve()).as_posix()
        else:
            place = without_user(line.place)
        name = line.name or places.get(place, "")
        if name:
            extras = Requirement(f"x{line.extras}").extras
            found.append(Root(name=canonicalize_name(name), extras=tuple(sorted(map(canonicalize_name, extras)))))
    return tuple(found)


def python_edges(
    known: Mapping[str, Metadata], *, asked: Sequence[Root], variables: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """By name, which packages of the set each one needs in the image where `variables` hold (`graph.environment`).

    Extras count where something asks for them.
    """
    edges: dict[str, set[str]] = {}
    extras: dict[str, set[str]] = {}
    queue = deque((root.name, frozenset(root.extras)) for root in asked)
    queue.extend((name, frozenset[str]()) for name in known)  # also what nobody reaches: another tool chose it
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        name, more = queue.popleft()
        if name not in known or (name, more) in seen:
            continue
        seen.add((name, more))
        active = extras.setdefault(name, set())
        active |= more
        for line in known[name].requires:
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            if _holds(requirement.marker, variables=variables, extras=active):
                needed = canonicalize_name(requirement.name)
                edges.setdefault(name, set()).add(needed)
                queue.append((needed, frozenset(map(canonicalize_name, requirement.extras))))
    return {name: tuple(sorted(needed & known.keys())) for name, needed in edges.items()}


def _holds(marker: Marker | None, *, variables: Mapping[str, str], extras: Collection[str]) -> bool:
    if marker is None:
        return True
    try:
        return any(marker.evaluate({**variables, "extra": extra}) for extra in ("", *sorted(extras)))
    except (InvalidMarker, KeyError):
        return False


def deb_edges(debs: Sequence[Deb], *, store: Store) -> dict[str, tuple[str, ...]]:
    """By name, which of these packages each one depends on or recommends, as far as the store has the files."""
    names = {one.package for one in debs}
    edges = {}
    for one in debs:
        fields = _control(one, store=store)
        words = ",".join(fields.get(name, "") for name in ("Pre-Depends", "Depends", "Recommends"))
        alternatives = (part.split("(")[0].split(":")[0].strip() for part in words.replace("|", ",").split(","))
        edges[one.package] = tuple(sorted(set(alternatives) & names - {one.package}))
    return edges


def deb_size(one: Deb, *, store: Store) -> int | None:
    """Bytes that a package takes when it is installed, as it says itself (deb-control(5), in units of 1024)."""
    kib = _control(one, store=store).get("Installed-Size", "")
    return int(kib) * 1024 if kib.isdecimal() else None


def _control(one: Deb, *, store: Store) -> Mapping[str, str]:
    if not store.has_file(one.sha256):
        return {}
    try:
        return deb.read_control(store.file_path(one.sha256)).fields
    except (CogsmithError, OSError):
        return {}


def chains(target: str, *, asked: Collection[str], edges: Mapping[str, Sequence[str]]) -> tuple[Chain, ...]:
    """From what was asked for to `target`, the shortest chain through each package that needs it; short ones first."""
    found: list[Chain] = [(target,)] if target in asked else []
    paths = _shortest(asked, edges=edges)
    for name in sorted(edges):
        if target in edges[name] and name != target:
            path = paths.get(name, (name,))
            if target not in path:
                found.append((*path, target))
    return tuple(sorted(found, key=lambda chain: (len(chain), chain)))


def _shortest(asked: Collection[str], *, edges: Mapping[str, Sequence[str]]) -> dict[str, Chain]:
    paths: dict[str, Chain] = {name: (name,) for name in sorted(asked)}
    queue = deque(sorted(asked))
    while queue:
        name = queue.popleft()
        for needed in edges.get(name, ()):
            if needed not in paths:
                paths[needed] = (*paths[name], needed)
                queue.append(needed)
    return paths
