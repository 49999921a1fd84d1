"""The model's Python packages: requirements → wheels by hash, resolved by uv for the image's platform and Python."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from packaging.markers import Marker

from builder.errors import ResolveError
from builder.lock import Built
from builder.plan import Remote, Wheel
from builder.report import Report
from builder.resolve import graph, indexes, requirements, torch, uv, wheels
from builder.resolve.requirements import Requirements
from builder.resolve.sessions import session_factory
from builder.resolve.unbuilt import brought, fetch_line, indexed
from builder.resolve.wheelhouse import Builder, Wheelhouse, build_requirements, matching, requirement_of
from builder.store import Store

if TYPE_CHECKING:
    import requests

Resolved: TypeAlias = tuple[tuple[Wheel, ...], tuple[Remote, ...], tuple[Built, ...]]


def resolve_python(
    text: str,
    *,
    project: Path,
    python_version: str,
    platform: str,
    glibc: str,
    store: Store,
    env: Mapping[str, str],
    report: Report,
    keep: Mapping[str, str] | None = None,
    folder: Path | None = None,
    accelerator: str = "cpu",
    builder: Callable[[], Builder] | None = None,
) -> Resolved:
    """The wheels that meet the requirements in `text`, sorted by name, where each can be had, and which were built.

    `text` is a requirements file that lies in `folder` (default: `project`).  `python_version` is the interpreter's
    (`3.11.2`), `platform` the image's (`linux/amd64`), `glibc` its C library's version.  `keep` holds preferred
    versions by name.  `accelerator` (`cpu`, `cu126`; empty: unknown) is what PyTorch is wanted for.  `builder` opens
    what builds packages without a wheel; without it they are refused.  uv's settings, and pip's, are taken from `env`
    and the user's files.  Raises `ConfigError` for lines that cannot be used and `ResolveError` for what cannot be had.
    """
    asked = requirements.read(text, project=project, folder=folder, report=report)
    if not asked.lines and not asked.sources:
        return (), (), ()
    target = f"Python {python_version} on {platform}, glibc {glibc}"
    arguments = ["--python-version", python_version, "--python-platform", uv.python_platform(platform, glibc=glibc)]
    if asked.prereleases:
        arguments += ["--prerelease", "allow"]
    environment = indexes.uv_environment(env, report=report)
    if asked.trusted_hosts:
        environment["UV_INSECURE_HOST"] = " ".join([environment.get("UV_INSECURE_HOST", ""), *asked.trusted_hosts])
    if asked.has_default_index and not env.get("UV_DEFAULT_INDEX"):
        environment.pop("UV_DEFAULT_INDEX", None)  # was pip's setting, and to pip the file wins
    if asked.has_extra_index and not indexes.has_strategy(environment):
        environment["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # to pip, which Cog installs with, all are equal
    others, only_from, more = torch.split(asked, env=env, accelerator=accelerator, report=report)
    minor = ".".join(python_version.split(".")[:2])
    tags = wheels.image_tags(python_minor=minor, machine=uv.machine(platform), glibc=glibc)
    new_session = session_factory(environment, texts=[text])

    requirements_of_build = build_requirements(
        _options(asked.lines),
        arguments=arguments,
        env=environment,
        tags=tags,
        target=target,
        store=store,
        new_session=new_session,
    )
    with store.scratch() as scratch, store.scratch() as built:
        house = None
        if builder is not None:
            house = Wheelhouse(
                builder=builder,
                resolve=requirements_of_build,
                folder=built,
                project=project,
                store=store,
                report=report,
            )
        variables = graph.environment(python_version=python_version, platform=platform)
        lines = [
            *others,
            *_built_lines(asked, house=house, variables=variables, env=env, store=store, new_session=new_session),
        ]
        while True:
            try:
                lock = uv.compile_lock(
                    lines,
                    scratch=scratch,
                    arguments=[*arguments, *more, *_links(house)],
                    env=environment,
                    keep=keep,
                    only_from=only_from,
                    report=report,
                )
            except ResolveError as problem:
                name = uv.without_wheel(problem)
                if house is not None and name and name not in house.tried:
                    house.tried.add(name)
                    if _build_indexed(
                        name,
                        [*_options(lines), *matching(lines, name=name)],
                        asked=asked,
                        house=house,
                        arguments=arguments,
                        env=environment,
                        store=store,
                        new_session=new_session,
                    ):
                        continue
                explained = uv.explained(problem, target=target)
                if more or only_from:
                    explained.hint = f"{explained.hint}; {torch.HINT}"
                raise explained from problem
            break
        offered = wheels.offers(lock, folder=scratch)
        allowed = dict(asked.hashes)
        chosen = [
            wheels.choose(_allowed(offers, hashes=allowed.get(name)), name=name, tags=tags, target=target)
            for name, offers in offered.items()
            if not _is_own(name, report=report)
        ]
        found, remotes = wheels.complete(chosen, store=store, new_session=new_session)
        own = {item.sha256: item for item in house.built} if house is not None else {}
        _check_hashes([offer for offer, wheel in _pairs(chosen, found) if wheel.sha256 not in own], asked=asked)
    used = tuple(own[wheel.sha256] for wheel in sorted(found, key=lambda wheel: wheel.sha256) if wheel.sha256 in own)
    places = [
        dataclasses.replace(r, urls=() if r.sha256 in own else tuple(map(indexes.without_user, r.urls)))
        for r in remotes
    ]
    return found, (*places, *(house.remotes if house is not None and used else ())), used


def _pairs(chosen: Sequence[wheels.Offer], found: Sequence[Wheel]) -> list[tuple[wheels.Offer, Wheel]]:
    by_name = {wheel.name: wheel for wheel in found}
    return [(offer, by_name[offer.name]) for offer in chosen]


def _links(house: Wheelhouse | None) -> list[str]:
    """Where uv finds what was built."""
    folders = sorted(path for path in house.folder.iterdir()) if house is not None else []
    return [word for folder in folders for word in ("--find-links", os.fspath(folder))]


def _options(lines: Sequence[str]) -> list[str]:
    """The lines that say where packages come from, and not which."""
    return [line for line in lines if line.startswith("-") and not line.startswith(("-r", "--requirement"))]


def _built_lines(
    asked: Requirements,
    *,
    house: Wheelhouse | None,
    variables: Mapping[str, str],
    env: Mapping[str, str],
    store: Store,
    new_session: Callable[[], requests.Session],
) -> list[str]:
    """What uv is asked for in place of the sources among the requirements, once they are built."""
    lines = []
    for line in asked.sources:
        if line.marker and not Marker(line.marker).evaluate({**variables, "extra": ""}):
            continue
        if house is None:
            raise ResolveError(f"`{line.text}` would have to be built, and cannot be here", hint="name a wheel instead")
        with store.scratch() as scratch:
            source = fetch_line(line, store=store, scratch=scratch, env=env, new_session=new_session)
            if line.hashes or asked.require_hashes:
                _check_hash(source.filename or line.text, sha256=source.sha256, wanted=line.hashes)
            lines.append(requirement_of(house.add(source), line=line))
    return lines


def _build_indexed(
    name: str,
    lines: Sequence[str],
    *,
    asked: Requirements,
    house: Wheelhouse,
    arguments: Sequence[str],
    env: Mapping[str, str],
    store: Store,
    new_session: Callable[[], requests.Session],
) -> bool:
    """Build the newest source of `name` that `lines` allow; whether there was one."""
    with store.scratch() as scratch:
        try:
            document = uv.compile_lock(lines, scratch=scratch, arguments=arguments, env=env, source=name)
        except ResolveError:
            return False
        offer = indexed(document, name=name)
        if offer is None:
            return False
        source = brought(offer, kind="sdist", store=store, new_session=new_session)
        hashes = dict(asked.hashes)
        if name in hashes or asked.require_hashes:
            _check_hash(source.filename, sha256=source.sha256, wanted=hashes.get(name, ()))
        house.add(source)
    return True


def _is_own(name: str, *, report: Report) -> bool:
    """Whether it is the SDK, which something else asks for."""
    if name in requirements.OWN:
        report.warn(f"`{name}`, which another package asks for, is left out: the image has its own SDK")
    return name in requirements.OWN


def _allowed(offers: Sequence[wheels.Offer], *, hashes: Sequence[str] | None) -> Sequence[wheels.Offer]:
    """Those that the requirements name by hash; all where they name none of them, which is then an error."""
    return [offer for offer in offers if f"sha256:{offer.sha256}" in (hashes or ())] or offers


def _check_hashes(chosen: Sequence[wheels.Offer], *, asked: Requirements) -> None:
    """Hold the wheels to the `--hash` options of the requirements."""
    allowed = dict(asked.hashes)
    held = [offer for offer in chosen if asked.require_hashes or offer.name in allowed]
    _refuse(
        wrong
        for offer in held
        if (wrong := _mismatch(offer.filename, sha256=offer.sha256, wanted=allowed.get(offer.name, ())))
    )


def _check_hash(filename: str, *, sha256: str, wanted: Sequence[str]) -> None:
    """Hold what a wheel is going to be built from to the `--hash` options."""
    _refuse(filter(None, [_mismatch(filename, sha256=sha256, wanted=wanted)]))


def _mismatch(filename: str, *, sha256: str, wanted: Sequence[str]) -> str:
    if f"sha256:{sha256}" in wanted:
        return ""
    if not wanted:
        return f"{filename} has no `--hash`, and the requirements ask for one of each package"
    return f"{filename} has sha256 {sha256}, which is none of {', '.join(v.removeprefix('sha256:') for v in wanted)}"


def _refuse(wrong: Iterable[str]) -> None:
    details = "\n".join(wrong)
    if details:
        raise ResolveError(
            "a package is not the file that the requirements name by hash",
            details=details,
            hint="correct the `--hash` options, or the index that the file comes from",
        )
