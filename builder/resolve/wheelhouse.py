"""Packages without a wheel: their sources, their build requirements, and the wheels that come of them.

Starts no program of an image: who builds is handed in (`Builder`), for `cli` joins this with the sandbox.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder.errors import ResolveError
from builder.frozen import frozen
from builder.lock import Built
from builder.plan import Remote, Wheel, canonical_json
from builder.report import Report
from builder.resolve import indexes, uv, wheels
from builder.resolve.indexes import without_user
from builder.resolve.requirements import SourceLine
from builder.resolve.unbuilt import Source, archive_name, read_build_table
from builder.store import Store

if TYPE_CHECKING:
    import requests

FORMAT = 1
"""Part of every key: raised when another wheel may come of the same."""

ROUNDS = 3
"""How often a build may ask for more requirements."""

_KIND = "built wheel"

Found: TypeAlias = tuple[tuple[Wheel, ...], tuple[Remote, ...]]


@frozen
class Job:
    """What is to be built: `source` is an archive or a folder of this machine; `settings` are for the driver."""

    name: str
    source: Path
    settings: Mapping[str, Any]
    requires: tuple[Wheel, ...]
    remotes: tuple[Remote, ...]


class Builder(Protocol):
    """The image's environment, in which wheels are built."""

    @property
    def identity(self) -> str:
        """What the environment is, as a hash."""

    def build(self, job: Job, *, into: Path) -> Sequence[str]:
        """Put the wheel into the folder `into`; or return what else the build requires, and do nothing."""

    def known(self, key: str) -> tuple[str, str] | None:
        """Name and sha256 of the wheel of that key, where somebody has built it before: it is in the store then."""

    def keep(self, key: str, wheel: Path) -> None:
        """Keep a wheel for others."""


class Wheelhouse:
    """The wheels that one resolution builds, in `folder`, where uv finds them."""

    def __init__(
        self,
        *,
        builder: Callable[[], Builder],
        resolve: Callable[[Sequence[str]], Found],
        folder: Path,
        project: Path,
        store: Store,
        report: Report,
    ) -> None:
        self._builder = builder
        self._resolve = resolve
        self._project = project
        self._store = store
        self._report = report
        self.folder = folder
        self.built: list[Built] = []
        self.remotes: list[Remote] = []
        self.tried: set[str] = set()

    def add(self, source: Source) -> Path:
        """The wheel of `source`, built unless it was before; it is in the folder."""
        table = read_build_table(source)
        texts = [str(text) for text in table["requires"]]
        builder = self._builder()
        into = (
            self.folder
            / hashlib.sha256(canonical_json([source.sha256, source.commit, source.subdirectory])).hexdigest()
        )
        into.mkdir(exist_ok=True)
        for _ in range(ROUNDS):
            wheels, remotes = self._resolve(texts) if texts else ((), ())
            key = key_of(source, identity=builder.identity, requires=wheels)
            made = self._known(key, builder=builder, into=into)
            if made is None:
                job = Job(name=source.name, source=source.path, settings=settings(source, table), requires=wheels,
                          remotes=remotes)  # fmt: skip
                missing = builder.build(job, into=into)
                if missing:
                    texts += missing
                    continue
                made = self._finish(key, job=job, builder=builder, into=into)
            self._record(source, key=key, made=made, wheels=wheels, remotes=remotes)
            return made[0]
        raise ResolveError(
            f"the build of `{source.name}` asks for more at each attempt",
            details="\n".join(texts),
            hint="choose a version that has a wheel, or build the wheel elsewhere and list that",
        )

    def _known(self, key: str, *, builder: Builder, into: Path) -> tuple[Path, bool] | None:
        memo = self._store.memo(_KIND, key)
        if memo is not None:
            name, sha256, same = json.loads(memo)
            if self._store.has_file(sha256):
                return _copied(self._store.file_path(sha256), into / name), same
        kept = builder.known(key)
        if kept is None:
            return None
        name, sha256 = kept
        return _copied(self._store.file_path(sha256), into / name), True

    def _finish(self, key: str, *, job: Job, builder: Builder, into: Path) -> tuple[Path, bool]:
        """Build once more, for whether the same comes of it; remember and keep the first."""
        wheel = _made(into, job=job)
        again = into / "again"
        again.mkdir()
        builder.build(job, into=again)
        other = _made(again, job=job)
        sha256 = self._store.add_file(wheel)
        same = self._store.add_file(other) == sha256
        other.unlink()
        if not same:
            self._report.warn(f"two builds of `{job.name}` gave two wheels: only a cache can bring this one elsewhere")
        self._store.remember(_KIND, key, json.dumps([wheel.name, sha256, same]))
        builder.keep(key, wheel)
        return wheel, same

    def _record(
        self,
        source: Source,
        *,
        key: str,
        made: tuple[Path, bool],
        wheels: tuple[Wheel, ...],
        remotes: Sequence[Remote],
    ) -> None:
        wheel, same = made
        with wheel.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self.built.append(
            Built(
                sha256=sha256,
                key=key,
                source=source.kind,
                filename=source.filename,
                size=source.path.stat().st_size if source.path.is_file() else 0,
                source_sha256=source.sha256,
                url=self._place(source),
                commit=source.commit,
                subdirectory=source.subdirectory,
                requires=wheels,
                same=same,
            )
        )
        self.remotes += remotes

    def _place(self, source: Source) -> str:
        """Where the source is, without credentials; relative to the project where it lies in it."""
        if source.url.startswith("/"):
            path = Path(source.url)
            inside = path.is_relative_to(self._project.resolve())
            return path.relative_to(self._project.resolve()).as_posix() if inside else path.as_uri()
        return source.url if source.kind == "git" else without_user(source.url)


def _made(folder: Path, *, job: Job) -> Path:
    """The one wheel in `folder`; `ResolveError` if the backend left none there, or one without a name."""
    found = list(folder.glob("*.whl"))
    with contextlib.suppress(InvalidWheelFilename):
        if len(found) == 1 and parse_wheel_filename(found[0].name):
            return found[0]
    raise ResolveError(
        f"the build of `{job.name}` made no wheel with a name as the standard has it",
        details=", ".join(path.name for path in found) or "it asked for more requirements instead, the second time",
        hint="choose a version that has a wheel, or build the wheel elsewhere and list that",
    )


def build_requirements(
    options: Sequence[str],
    *,
    arguments: Sequence[str],
    env: Mapping[str, str],
    tags: Sequence[Tag],
    target: str,
    store: Store,
    new_session: Callable[[], requests.Session],
) -> Callable[[Sequence[str]], Found]:
    """What resolves the requirements of builds: to wheels only, from where `options` (lines) and `env` (for uv) say."""

    def resolve(texts: Sequence[str]) -> Found:
        with store.scratch() as inner:
            try:
                lock = uv.compile_lock([*options, *texts], scratch=inner, arguments=arguments, env=env)
            except ResolveError as problem:
                raise uv.explained(problem, target=f"{target}, to build with") from problem
            found = wheels.offers(lock, folder=inner)
        chosen = [wheels.choose(offers, name=name, tags=tags, target=target) for name, offers in found.items()]
        made, remotes = wheels.complete(chosen, store=store, new_session=new_session)
        return made, tuple(dataclasses.replace(r, urls=tuple(map(indexes.without_user, r.urls))) for r in remotes)

    return resolve


def key_of(source: Source, *, identity: str, requires: Sequence[Wheel]) -> str:
    """What a wheel depends on, as a hash: its source, the environment, the build requirements."""
    parts = [FORMAT, source.sha256, source.commit, source.subdirectory, identity]
    wheels = sorted(wheel.sha256 for wheel in requires)
    return hashlib.sha256(canonical_json([*parts, wheels])).hexdigest()


def settings(source: Source, table: Mapping[str, Any]) -> dict[str, Any]:
    """What the driver inside is told."""
    return {
        "archive": archive_name(source.filename),
        "subdirectory": source.subdirectory,
        "backend": table["build-backend"],
        "backend_path": list(table.get("backend-path", ())),
        "complete": False,
    }


def requirement_of(wheel: Path, *, line: SourceLine) -> str:
    """What uv is asked for once a line's wheel is there."""
    name, *_ = parse_wheel_filename(wheel.name)
    if line.name and canonicalize_name(name) != line.name:
        raise ResolveError(f"`{line.text}` holds `{name}`", hint="correct its name in the requirements")
    marker = f" ; {line.marker}" if line.marker else ""
    return f"{name}{line.extras} @ {wheel.as_uri()}{marker}"


def matching(lines: Sequence[str], *, name: str) -> list[str]:
    """Those of the requirements that are for `name`, as they stand; else the bare name."""
    found = []
    for line in lines:
        try:
            if not line.startswith("-") and canonicalize_name(Requirement(line).name) == name:
                found.append(line)
        except ValueError:
            continue
    return found or [name]


def _copied(path: Path, target: Path) -> Path:
    if not target.exists():
        shutil.copyfile(path, target)
    return target
