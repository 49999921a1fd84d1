"""Another tool's lock → wheels by hash: versions and hashes are the lock's, the places the user's own indexes.

Asks the indexes for the very files; what they lack comes from where the lock says.  What has no wheel that fits is
built of the source that the lock names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from builder.errors import ResolveError
from builder.plan import Wheel
from builder.report import Report
from builder.resolve import graph, indexes, unbuilt, uv, wheels
from builder.resolve.python import Resolved
from builder.resolve.requirements import OWN, SOURCE_HINT
from builder.resolve.sessions import session_factory
from builder.resolve.wheelhouse import Builder, Wheelhouse, build_requirements
from builder.store import Store

if TYPE_CHECKING:
    import requests


def resolve_locked(
    locked: graph.Graph,
    *,
    project: Path,
    declared: Mapping[str, str],
    python_version: str,
    platform: str,
    glibc: str,
    store: Store,
    env: Mapping[str, str],
    report: Report,
    builder: Callable[[], Builder] | None = None,
) -> Resolved:
    """The wheels that `locked` means for the image, sorted by name, where each can be had, and which were built.

    `declared` are the indexes of the project itself, URL to name: packages that the lock has from one of them are
    asked for there.  Else as `resolve_python`.  Raises `ResolveError` for what cannot be had, or is not what the lock
    says.
    """
    target = f"Python {python_version} on {platform}, glibc {glibc}"
    variables = graph.environment(python_version=python_version, platform=platform)
    tags = wheels.image_tags(python_minor=variables["python_version"], machine=uv.machine(platform), glibc=glibc)
    selected = graph.select(locked, variables=variables)
    packages, sources = _split(selected, tags=tags, locked=locked, can_build=builder is not None, report=report)
    environment = indexes.uv_environment(env, report=report)
    users = {url: user for url, name in declared.items() if (user := indexes.named_user(name, env=env))}
    for url, user in users.items():
        environment |= indexes.for_uv(declared[url], user)
    for_image = ["--python-platform", uv.python_platform(platform, glibc=glibc)]
    arguments = ["--no-deps", "--prerelease", "allow", "--python-version", python_version]
    found: dict[str, list[wheels.Offer]] = {}
    trouble: ResolveError | None = None
    for place, group in _by_index(packages, declared=declared):
        # The same two ways as for the server's wheels (`resolve.runtime`): each may name files the other does not.
        for way in (for_image, ["--universal"]):
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
    with store.scratch() as folder:
        house = None
        if builder is not None and sources:
            more = [word for url, name in declared.items() for word in ("--index", f"{name}={url}" if name else url)]
            house = Wheelhouse(
                builder=builder,
                resolve=build_requirements(
                    [],
                    arguments=["--python-version", python_version, *for_image, *more],
                    env=environment,
                    tags=tags,
                    target=target,
                    store=store,
                    new_session=new_session,
                ),
                folder=folder,
                project=project,
                store=store,
                report=report,
            )
            places = dict(_places(sources, declared=declared))
            for package in sources:
                with store.scratch() as scratch:
                    source = _source(
                        package,
                        locked=locked,
                        project=project,
                        arguments=[[*arguments, *place] for place in places.get(package.name, [[]])],
                        store=store,
                        scratch=scratch,
                        env=environment,
                        new_session=new_session,
                    )
                    chosen.append(_built_offer(house.add(source), package=package, locked=locked))
        made, remotes = wheels.complete(chosen, store=store, new_session=new_session)
    built = {item.sha256: item for item in house.built} if house is not None else {}
    _check([wheel for wheel in made if wheel.sha256 not in built], packages=packages, locked=locked)
    return (
        made,
        (
            *(
                dataclasses.replace(r, urls=() if r.sha256 in built else tuple(map(indexes.without_user, r.urls)))
                for r in remotes
            ),
            *(house.remotes if house is not None else ()),
        ),
        tuple(built[sha256] for sha256 in sorted(built)),
    )


def _split(
    selected: Sequence[graph.Package], *, tags: Sequence[Tag], locked: graph.Graph, can_build: bool, report: Report
) -> tuple[tuple[graph.Package, ...], tuple[graph.Package, ...]]:
    """The packages that come as wheels, and those that have to be built."""
    ready, sources, wrong = [], [], []
    for package in selected:
        if package.name in OWN:
            report.warn(f"`{package.name}` of {locked.name} is left out: the image has its own SDK")
        elif package.origin is None and (package.sdist is None or _has_fitting(package.files, tags=tags)):
            if package.files:
                ready.append(package)
            else:
                wrong.append(f"{package.name} {package.version}: neither a wheel nor a source in {locked.name}")
        else:
            sources.append(package)
    if not can_build:
        wrong += [f"{package.name} {package.version}: no wheel" for package in sources]
    if wrong:
        raise ResolveError(
            f"{locked.name} holds packages that cannot be had" if can_build
            else f"{locked.name} holds packages that somebody would have to build",
            details="\n".join(wrong),
            hint=f"renew it with `{locked.renew}`" if can_build else SOURCE_HINT,
        )  # fmt: skip
    return tuple(ready), tuple(sources)


def _has_fitting(files: Iterable[graph.File], *, tags: Sequence[Tag]) -> bool:
    known = frozenset(tags)
    for file in files:
        try:
            if known & parse_wheel_filename(file.name)[3]:
                return True
        except InvalidWheelFilename:
            continue
    return False


def _by_index(
    packages: Iterable[graph.Package], *, declared: Mapping[str, str]
) -> Iterator[tuple[list[str], list[graph.Package]]]:
    """Where to ask, as arguments for uv, and for what."""
    groups: dict[str, list[graph.Package]] = {}
    for package in packages:
        if not any(file.url.startswith("file:") for file in package.files):
            groups.setdefault(_index_of(package, declared=declared), []).append(package)
    for index, group in groups.items():
        for place in _arguments(index, declared=declared):
            yield place, group


def _places(packages: Iterable[graph.Package], *, declared: Mapping[str, str]) -> Iterator[tuple[str, list[list[str]]]]:
    for package in packages:
        yield package.name, _arguments(_index_of(package, declared=declared), declared=declared)


def _index_of(package: graph.Package, *, declared: Iterable[str]) -> str:
    return package.index if package.index.rstrip("/") in {url.rstrip("/") for url in declared} else ""


def _arguments(index: str, *, declared: Mapping[str, str]) -> list[list[str]]:
    name = next((name for url, name in declared.items() if url.rstrip("/") == index.rstrip("/")), "")
    return [["--default-index", f"{name}={index}" if name else index], []] if index else [[]]


def _source(
    package: graph.Package,
    *,
    locked: graph.Graph,
    project: Path,
    arguments: Sequence[Sequence[str]],
    store: Store,
    scratch: Path,
    env: Mapping[str, str],
    new_session: Callable[[], requests.Session],
) -> unbuilt.Source:
    """The very source that the lock names: from the indexes where one of them has it, else from where the lock says."""
    if package.origin is not None:
        return unbuilt.fetch_origin(
            package, project=project, store=store, scratch=scratch, env=env, new_session=new_session
        )
    file = package.sdist
    assert file is not None
    trouble: ResolveError | None = None
    for words in arguments if not file.url.startswith("file:") else ():
        try:
            document = uv.compile_lock(
                [f"{package.name}=={package.version}"],
                scratch=scratch,
                arguments=words,
                env=env,
                source=package.name,
            )
        except ResolveError as problem:
            trouble = trouble or problem
            continue
        offer = unbuilt.indexed(document, name=package.name)
        if offer is not None and (offer.sha256 or file.sha256) == file.sha256 and offer.filename == file.name:
            exact = dataclasses.replace(offer, sha256=file.sha256)
            return unbuilt.brought(exact, kind="sdist", store=store, new_session=new_session)
    if not file.url:
        raise _absent(package, locked=locked, files=[file]) from trouble
    return unbuilt.brought(_own_offer(package, file), kind="sdist", store=store, new_session=new_session)


def _built_offer(wheel: Path, *, package: graph.Package, locked: graph.Graph) -> wheels.Offer:
    name, version, *_ = parse_wheel_filename(wheel.name)
    if canonicalize_name(name) != package.name or (package.version and version != Version(package.version)):
        raise ResolveError(
            f"what {locked.name} names as the source of `{package.name}` {package.version} is that of {name} {version}",
            hint=f"renew it with `{locked.renew}`",
        )
    return wheels.Offer(
        name=package.name, version=str(version), filename=wheel.name, url=wheel.as_uri(), sha256="", size=0
    )


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


def _absent(package: graph.Package, *, locked: graph.Graph, files: Sequence[graph.File] = ()) -> ResolveError:
    return ResolveError(
        f"no package index that is set has the files of `{package.name}` {package.version} that {locked.name} names",
        details="\n".join(f"{file.name} sha256 {file.sha256}" for file in (files or package.files)[:5]),
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
