"""Packages without a wheel: their sources, their build requirements, and the wheels that come of them.

Starts no program of an image: who builds is handed in (`Builder`), for `cli` joins this with the sandbox.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from builder.errors import LayerError, ResolveError
from builder.frozen import frozen
from builder.layers.untar import Bounded
from builder.lock import Built
from builder.plan import Remote, Wheel, canonical_json
from builder.report import Report
from builder.resolve import repository
from builder.resolve.indexes import without_user
from builder.resolve.requirements import SourceLine
from builder.resolve.wheels import Offer, bring
from builder.store import Store

if TYPE_CHECKING:
    import requests

FORMAT = 1
"""Part of every key: raised when another wheel may come of the same."""

ROUNDS = 3
"""How often a build may ask for more requirements."""

DEFAULT = {"requires": ["setuptools>=40.8.0"], "build-backend": "setuptools.build_meta:__legacy__"}
"""What PEP 518 and PEP 517 have for a source that says nothing."""

PYPROJECT_MAX = 1 << 20

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


@frozen
class Source:
    """A source that is here: an archive with its sha256, or a folder with its commit."""

    name: str
    kind: str
    path: Path
    url: str
    filename: str = ""
    sha256: str = ""
    commit: str = ""
    subdirectory: str = ""


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
        into = self.folder / (source.sha256 or source.commit)
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
        (wheel,) = into.glob("*.whl")
        again = into / "again"
        again.mkdir()
        builder.build(job, into=again)
        (other,) = again.glob("*.whl")
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
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        self.built.append(
            Built(
                sha256=sha256,
                key=key,
                source="git" if source.kind == "git" else "sdist" if source.kind == "sdist" else "archive",
                filename=source.filename,
                size=source.path.stat().st_size if source.sha256 else 0,
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


def key_of(source: Source, *, identity: str, requires: Sequence[Wheel]) -> str:
    """What a wheel depends on, as a hash: its source, the environment, the build requirements."""
    parts = [FORMAT, source.sha256, source.commit, source.subdirectory, identity]
    wheels = sorted(wheel.sha256 for wheel in requires)
    return hashlib.sha256(canonical_json([*parts, wheels])).hexdigest()


def settings(source: Source, table: Mapping[str, Any]) -> dict[str, Any]:
    """What the driver inside is told."""
    return {
        "archive": _safe(source.filename),
        "subdirectory": source.subdirectory,
        "backend": table["build-backend"],
        "backend_path": list(table.get("backend-path", ())),
        "complete": False,
    }


def read_build_table(source: Source) -> dict[str, Any]:
    """`build-system` of the source's pyproject.toml, completed (PEP 518)."""
    text = _pyproject(source)
    try:
        table = tomllib.loads(text).get("build-system") or {} if text else {}
        if "requires" not in table:
            return dict(DEFAULT)
        made = {"build-backend": DEFAULT["build-backend"], "backend-path": [], **table}
        texts = [made["build-backend"], *made["requires"], *made["backend-path"]]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("`build-system` holds what is no string")
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as problem:
        raise ResolveError(
            f"pyproject.toml of `{source.name}` cannot be used",
            details=str(problem),
            hint="choose another version, or list a wheel of your own",
        ) from problem
    return made


def _pyproject(source: Source) -> str:
    wanted = f"{source.subdirectory}/pyproject.toml".lstrip("/")
    data = b""
    try:
        if source.path.is_dir():
            path = source.path / wanted
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        elif zipfile.is_zipfile(source.path):
            with zipfile.ZipFile(source.path) as archive:
                found = [info for info in archive.infolist() if _is_it(info.filename, wanted=wanted)]
                if found and found[0].file_size <= PYPROJECT_MAX:
                    data = archive.read(found[0])
        else:
            with tarfile.open(source.path, tarinfo=Bounded) as tar:
                for member in tar:
                    if _is_it(member.name, wanted=wanted) and member.isfile() and member.size <= PYPROJECT_MAX:
                        file = tar.extractfile(member)
                        data = file.read() if file else b""
                        break
        return data.decode()
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, LayerError, ValueError) as problem:
        raise ResolveError(
            f"the source of `{source.name}` cannot be read",
            details=str(problem),
            hint="it is damaged, or no archive: make it again, or list a wheel of your own",
        ) from problem


def _is_it(name: str, *, wanted: str) -> bool:
    """Whether a path in an archive is `wanted`, in the one folder that such archives hold, or in none."""
    plain = name.removeprefix("./")
    return plain == wanted or plain.partition("/")[2] == wanted


def fetch_line(
    line: SourceLine,
    *,
    store: Store,
    scratch: Path,
    env: Mapping[str, str],
    new_session: Callable[[], requests.Session],
) -> Source:
    """The source that a line of the requirements names: downloaded, or cloned with the `git` of this machine."""
    name = line.name or line.text
    if line.kind == "git":
        return _cloned(name, place=line.place, subdirectory=line.subdirectory, scratch=scratch, env=env)
    if line.place.startswith("/"):
        path = Path(line.place)
        sha256 = store.hash_file(path, path.stat())
        return Source(
            name=name, kind="archive", path=path, url=line.place, filename=_safe(path.name), sha256=sha256,
            subdirectory=line.subdirectory,
        )  # fmt: skip
    filename = _safe(line.place.rpartition("/")[2].partition("?")[0])
    offer = Offer(name=name, version="", filename=filename, url=line.place, sha256=line.sha256, size=0)
    return _brought(offer, kind="archive", subdirectory=line.subdirectory, store=store, new_session=new_session)


def fetch_indexed(
    document: Mapping[str, Any], *, name: str, store: Store, new_session: Callable[[], requests.Session]
) -> Source | None:
    """The source that uv found in an index, if it found one (`uv.compile_lock` with `source`)."""
    for package in document.get("packages", ()):
        file = package.get("sdist")
        if file and canonicalize_name(package["name"]) == name:
            url = file["url"] if "url" in file else Path(file["path"]).resolve().as_uri()
            filename = file.get("name") or unquote(urlsplit(url).path).rpartition("/")[2]
            sha256 = file.get("hashes", {}).get("sha256", "")
            offer = Offer(name=name, version="", filename=_safe(filename), url=url, sha256=sha256, size=0)
            return _brought(offer, kind="sdist", store=store, new_session=new_session)
    return None


def _brought(
    offer: Offer, *, kind: str, store: Store, new_session: Callable[[], requests.Session], subdirectory: str = ""
) -> Source:
    path, full = bring(offer, store=store, new_session=new_session)
    url = os.fspath(path) if offer.url.startswith("file:") else offer.url
    return Source(
        name=offer.name,
        kind=kind,
        path=path,
        url=url,
        filename=offer.filename,
        sha256=full.sha256,
        subdirectory=subdirectory,
    )


def source_of(
    built: Built,
    *,
    name: str,
    project: Path,
    store: Store,
    scratch: Path,
    env: Mapping[str, str],
    new_session: Callable[[], requests.Session],
) -> Source:
    """The source that a lock names, here again: the very archive by hash, or the very commit."""
    if built.source == "git":
        return _cloned(
            name,
            place=built.url,
            subdirectory=built.subdirectory,
            scratch=scratch,
            commit=built.commit,
            env=env,
        )
    url = built.url if "://" in built.url else (project / built.url).resolve().as_uri()
    filename = built.filename or _safe(url.rpartition("/")[2])
    offer = Offer(name=name, version="", filename=filename, url=url, sha256=built.source_sha256, size=built.size)
    return _brought(offer, kind=built.source, subdirectory=built.subdirectory, store=store, new_session=new_session)


def _cloned(
    name: str, *, place: str, subdirectory: str, scratch: Path, env: Mapping[str, str], commit: str = ""
) -> Source:
    path, url, found = repository.clone(name, place=place, folder=scratch / "clone", env=env, commit=commit)
    return Source(name=name, kind="git", path=path, url=url, commit=found, subdirectory=subdirectory)


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
        target.write_bytes(path.read_bytes())
    return target


def _safe(name: str) -> str:
    return "".join(c for c in name if c.isalnum() or c in "._+-")
