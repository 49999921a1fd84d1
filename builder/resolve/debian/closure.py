"""Which packages a small system needs: the closure of a few names over an index.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builder.errors import ResolveError
from builder.resolve.debian.index import Index, Package
from builder.resolve.debian.relations import Relation
from builder.resolve.debian.release import OTHER_MIRROR
from builder.resolve.debian.version import satisfies


def closure(index: Index, *, wanted: Sequence[str]) -> dict[str, Package]:
    """The essential packages, `wanted`, and all that they depend on, by name.

    Recommendations are not followed.  Of alternatives, one that is there already is kept, else the first that can be
    had is taken, as apt does; of several providers of a virtual package, the one with the highest priority and then
    the first by name.  What `wanted` names is settled before any alternative: naming a package is how to choose it.
    """
    chosen: dict[str, Package] = {}
    queue: list[Package] = []

    def take(package: Package) -> None:
        if package.name not in chosen:
            chosen[package.name] = package
            queue.append(package)

    for name in [*index.essential, *wanted]:
        package = index.get(name)
        if package is None:
            raise ResolveError(f"Debian package `{name}` is not in the index", hint=OTHER_MIRROR)
        take(package)
    while queue:
        package = queue.pop(0)
        for alternatives in package.relations("Pre-Depends", "Depends"):
            if any(_met(relation, chosen) for relation in alternatives):
                continue
            candidate = next((p for r in alternatives for p in _candidates(r, index)), None)
            if candidate is None:
                text = " | ".join(_text(relation) for relation in alternatives)
                raise ResolveError(
                    f"Debian package `{package.name}` needs `{text}`, which the mirrors do not have",
                    hint="the mirror may be in the middle of an update, or lacks a suite that goes with this one",
                )
            take(candidate)
    _check_conflicts(chosen)
    return chosen


def _met(relation: Relation, chosen: dict[str, Package]) -> bool:
    package = chosen.get(relation.name)
    if package is not None and satisfies(package.version, operator=relation.operator, wanted=relation.version):
        return True
    return any(_provides(package, relation) for package in chosen.values())


def _provides(package: Package, relation: Relation) -> bool:
    # A versioned relation is met by a versioned Provides only (Debian Policy 7.5).
    return any(
        name == relation.name
        and (not relation.operator or bool(version))
        and satisfies(version, operator=relation.operator, wanted=relation.version)
        for name, version in package.provides()
    )


_PRIORITIES = ("required", "important", "standard", "optional", "extra")


def _candidates(relation: Relation, index: Index) -> Iterable[Package]:
    package = index.get(relation.name)
    if package is not None and satisfies(package.version, operator=relation.operator, wanted=relation.version):
        yield package
    providers = [package for package in index.providers(relation.name) if _provides(package, relation)]
    yield from sorted(providers, key=lambda package: (_priority(package), package.name))


def _priority(package: Package) -> int:
    priority = package.fields.get("Priority", "optional")
    return _PRIORITIES.index(priority) if priority in _PRIORITIES else len(_PRIORITIES)


def _check_conflicts(chosen: dict[str, Package]) -> None:
    for package in chosen.values():
        for group in package.relations("Conflicts", "Breaks"):
            for relation in group:
                for other in chosen.values():
                    if other.name == package.name:
                        continue
                    hit = other.name == relation.name and satisfies(
                        other.version, operator=relation.operator, wanted=relation.version
                    )
                    if hit or _provides(other, relation):
                        raise ResolveError(
                            f"Debian packages `{package.name}` and `{other.name}` exclude each other", hint=OTHER_MIRROR
                        )


def _text(relation: Relation) -> str:
    return f"{relation.name} ({relation.operator} {relation.version})" if relation.operator else relation.name
