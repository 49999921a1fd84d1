"""Another tool's lock → wheels by hash: versions and hashes are the lock's, the places the user's own indexes.

Asks the indexes for the very files; what they lack comes from where the lock says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from builder.errors import ResolveError
from builder.plan import Remote, Wheel
from builder.report import Report
from builder.resolve import graph, indexes, uv, wheels
from builder.resolve.requirements import OWN, SOURCE_HINT
from builder.resolve.sessions import session_factory
from builder.store import Store


def resolve_locked(
    locked: graph.Graph,
    *,
    declared: Mapping[str, str],
    python_version: str,
    platform: str,
    glibc: str,
    store: Store,
    env: Mapping[str, str],
    report: Report,
) -> tuple[tuple[Wheel, ...], tuple[Remote, ...]]:
    """The wheels that `locked` means for the image, sorted by name, and where each can be had.

    `declared` are the indexes of the project itself, URL to name: packages that the lock has from one of them are
    asked for there.  Else as `resolve_python`.  Raises `ResolveError` for what has no wheel, or is not what the lock
    says.
    """
    target = f"Python {python_version} on {platform}, glibc {glibc}"
    variables = graph.environment(python_version=python_version, platform=platform)
    packages = _buildable(graph.select(locked, variables=variables), locked=locked, report=report)
    tags = wheels.image_tags(python_minor=variables["python_version"], machine=uv.machine(platform), glibc=glibc)
    environment = indexes.uv_environment(env, report=report)
    users = {url: user for url, name in declared.items() if (user := indexes.named_user(name, env=env))}
    for url, user in users.items():
        environment |= indexes.for_uv(declared[url], user)
    platform_name = uv.python_platform(platform, glibc=glibc)
    arguments = ["--no-deps", "--prerelease", "allow", "--python-version", python_version]
    found: dict[str, list[wheels.Offer]] = {}
    trouble: ResolveError | None = None
    for index, group in _by_index(packages, declared=declared).items():
        name = next((name for url, name in declared.items() if url.rstrip("/") == index.rstrip("/")), "")
        for place in [["--default-index", f"{name}={index}" if name else index], []] if index else [[]]:
            # The same two ways as for the server's wheels (`resolve.runtime`): each may name files the other does not.
            for way in (["--python-platform", platform_name], ["--universal"]):
                missing = [package for package in group if not found.get(package.name)]
                if missing:
                    try:
                        found |= _offered(missing, arguments=[*arguments, *place, *way], store=store, env=environment)
                    except ResolveError as problem:
                        trouble = trouble or uv.explained(problem, target=target)
    chosen = []
    for package in packages:
        own = [_own_offer(package, file) for file in package.files if file.url]
        candidates = found.get(package.name) or own
        if not candidates:
            raise trouble or _absent(package, locked=locked)
        chosen.append(wheels.choose(candidates, name=package.name, tags=tags, target=target))
    known = {indexes.origin(url): user for url, user in users.items()}
    new_session = session_factory(environment, known=known, texts=list(declared))
    made, remotes = wheels.complete(chosen, store=store, new_session=new_session)
    _check(made, packages=packages, locked=locked)
    return made, tuple(dataclasses.replace(r, urls=tuple(map(indexes.without_user, r.urls))) for r in remotes)


def _buildable(packages: Sequence[graph.Package], *, locked: graph.Graph, report: Report) -> tuple[graph.Package, ...]:
    kept = []
    wrong = []
    for package in packages:
        if package.name in OWN:
            report.warn(f"`{package.name}` of {locked.name} is left out: the image has its own SDK")
        elif package.source:
            wrong.append(f"{package.name}: {package.source}")
        elif not package.files:
            wrong.append(f"{package.name} {package.version}: no wheel in {locked.name}")
        else:
            kept.append(package)
    if wrong:
        raise ResolveError(
            f"{locked.name} holds packages that somebody would have to build",
            details="\n".join(wrong),
            hint=SOURCE_HINT,
        )
    return tuple(kept)


def _by_index(packages: Iterable[graph.Package], *, declared: Iterable[str]) -> dict[str, list[graph.Package]]:
    known = {url.rstrip("/") for url in declared}
    groups: dict[str, list[graph.Package]] = {}
    for package in packages:
        if not any(file.url.startswith("file:") for file in package.files):
            index = package.index if package.index.rstrip("/") in known else ""
            groups.setdefault(index, []).append(package)
    return groups


def _offered(
    packages: Sequence[graph.Package], *, arguments: Sequence[str], store: Store, env: Mapping[str, str]
) -> dict[str, list[wheels.Offer]]:
    """By name, what the index has of the files that the lock means."""
    lines = [f"{package.name}=={package.version}" for package in packages]
    with store.scratch() as scratch:
        lock = uv.compile_lock(lines, scratch=scratch, arguments=arguments, env=env)
        offers = wheels.offers(lock, folder=scratch)
    return {
        package.name: [offer for offer in offers.get(package.name, []) if _is_one(offer, files=package.files)]
        for package in packages
    }


def _is_one(offer: wheels.Offer, *, files: Sequence[graph.File]) -> bool:
    if offer.sha256:
        return offer.sha256 in {file.sha256 for file in files}
    return offer.filename in {file.name for file in files}


def _own_offer(package: graph.Package, file: graph.File) -> wheels.Offer:
    return wheels.Offer(
        name=package.name,
        version=package.version,
        filename=file.name,
        url=file.url,
        sha256=file.sha256,
        size=file.size,
    )


def _absent(package: graph.Package, *, locked: graph.Graph) -> ResolveError:
    return ResolveError(
        f"no package index that is set has the files of `{package.name}` {package.version} that {locked.name} names",
        details="\n".join(f"{file.name} sha256 {file.sha256}" for file in package.files[:5]),
        hint=f"use the index that it was locked with, or lock again with `{locked.renew}`",
    )


def _check(made: Sequence[Wheel], *, packages: Sequence[graph.Package], locked: graph.Graph) -> None:
    allowed = {package.name: {file.sha256 for file in package.files} for package in packages}
    wrong = [wheel for wheel in made if wheel.sha256 not in allowed[wheel.name] and any(allowed[wheel.name])]
    if wrong:
        raise ResolveError(
            f"a package is not the file that {locked.name} names by hash",
            details="\n".join(f"{wheel.filename} has sha256 {wheel.sha256}" for wheel in wrong),
            hint="correct the index that the file comes from, or lock again",
        )
