"""Sources of packages that have no wheel: brought here and verified, and what their builds require.

Starts `git` and nothing else: no code of a source is run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from builder.errors import LayerError, ResolveError
from builder.frozen import frozen
from builder.layers.untar import Bounded
from builder.lock import Built
from builder.plan import Entry, canonical_json, to_plain
from builder.resolve import ignore, indexes, repository, source
from builder.resolve.graph import Package
from builder.resolve.requirements import SourceLine
from builder.resolve.wheels import Offer, bring
from builder.store import Store

if TYPE_CHECKING:
    import requests

DEFAULT = {"requires": ["setuptools>=40.8.0"], "build-backend": "setuptools.build_meta:__legacy__"}
"""What PEP 518 and PEP 517 have for a source that says nothing."""

PYPROJECT_MAX = 1 << 20

FOLDER_RULES = """\
**/.git
**/.hg
**/.svn
**/.venv
**/.tox
**/.nox
**/.*_cache
**/__pycache__
**/*.egg-info
build/lib
build/lib.*
build/bdist.*
build/temp.*
pylock.cog.toml
"""
"""What in a folder is no source, but comes of building and using it; in the words of `.dockerignore`."""

FOLDER_TIME = 315_619_200
"""The time of all files of a folder that is built, in seconds (1980-01-02, which a zip can hold)."""


@frozen
class Source:
    """A source that is here: an archive with its sha256, a clone with its commit, a folder with the hash of its files.

    `kind` is `sdist`, `archive`, `git` or `directory`.
    """

    name: str
    kind: Literal["sdist", "archive", "git", "directory"]
    path: Path
    url: str
    filename: str = ""
    sha256: str = ""
    commit: str = ""
    subdirectory: str = ""


def read_build_table(given: Source) -> dict[str, Any]:
    """`build-system` of the source's pyproject.toml, completed (PEP 518)."""
    text = _pyproject(given)
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
            f"pyproject.toml of `{given.name}` cannot be used",
            details=str(problem),
            hint="choose another version, or list a wheel of your own",
        ) from problem
    return made


def _pyproject(given: Source) -> str:
    wanted = f"{given.subdirectory}/pyproject.toml".lstrip("/")
    data = b""
    try:
        if given.path.is_dir():
            path = given.path / wanted
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        elif zipfile.is_zipfile(given.path):
            with zipfile.ZipFile(given.path) as archive:
                found = [info for info in archive.infolist() if _is_it(info.filename, wanted=wanted)]
                if found and found[0].file_size <= PYPROJECT_MAX:
                    data = archive.read(found[0])
        else:
            with tarfile.open(given.path, tarinfo=Bounded) as tar:
                for member in tar:
                    if _is_it(member.name, wanted=wanted) and member.isfile() and member.size <= PYPROJECT_MAX:
                        file = tar.extractfile(member)
                        data = file.read() if file else b""
                        break
        return data.decode()
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, LayerError, ValueError) as problem:
        raise ResolveError(
            f"the source of `{given.name}` cannot be read",
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
    place = line.place if line.place.startswith("/") else indexes.expanded(line.place, env=env)
    if line.kind == "git":
        return _cloned(name, place=place, subdirectory=line.subdirectory, scratch=scratch, env=env)
    if line.place.startswith("/"):
        path = Path(line.place)
        sha256 = store.hash_file(path, path.stat())
        return Source(
            name=name, kind="archive", path=path, url=line.place, filename=archive_name(path.name), sha256=sha256,
            subdirectory=line.subdirectory,
        )  # fmt: skip
    filename = archive_name(place.rpartition("/")[2].partition("?")[0])
    offer = Offer(name=name, version="", filename=filename, url=place, sha256=line.sha256, size=0)
    return brought(offer, kind="archive", subdirectory=line.subdirectory, store=store, new_session=new_session)


def indexed(document: Mapping[str, Any], *, name: str) -> Offer | None:
    """The source that uv found in an index, if it found one (`uv.compile_lock` with `source`)."""
    for package in document.get("packages", ()):
        file = package.get("sdist")
        if file and canonicalize_name(package["name"]) == name:
            url = file["url"] if "url" in file else Path(file["path"]).resolve().as_uri()
            filename = file.get("name") or unquote(urlsplit(url).path).rpartition("/")[2]
            sha256 = file.get("hashes", {}).get("sha256", "")
            return Offer(name=name, version="", filename=archive_name(filename), url=url, sha256=sha256, size=0)
    return None


def fetch_origin(
    package: Package,
    *,
    project: Path,
    store: Store,
    scratch: Path,
    env: Mapping[str, str],
    new_session: Callable[[], requests.Session],
) -> Source:
    """The source that another tool's lock names, and no index has."""
    origin = package.origin
    assert origin is not None
    if origin.kind == "git":
        return _cloned(
            package.name,
            place=origin.place,
            subdirectory=origin.subdirectory,
            scratch=scratch,
            commit=origin.commit,
            env=env,
        )
    if origin.place.startswith("file:"):
        path = Path(unquote(urlsplit(origin.place).path)).resolve()
        _check_inside(path, project=project, name=package.name)
        if origin.kind == "directory":
            return _folder(package.name, path=path, subdirectory=origin.subdirectory, store=store, scratch=scratch)
    filename = archive_name(unquote(urlsplit(origin.place).path).rpartition("/")[2])
    offer = Offer(
        name=package.name, version="", filename=filename, url=origin.place, sha256=origin.sha256, size=0
    )  # fmt: skip
    return brought(offer, kind="archive", subdirectory=origin.subdirectory, store=store, new_session=new_session)


def _check_inside(path: Path, *, project: Path, name: str) -> None:
    if not path.is_relative_to(project.resolve()):
        raise ResolveError(
            f"the source of `{name}` is outside the project: `{path}`",
            hint="put it into the project's folder, for an image has to be the same elsewhere; or list a wheel",
        )


def hash_folder(path: Path, *, store: Store) -> str:
    """The sha256 of what is in a folder: names, contents, whether executable; the same wherever it lies."""
    return hashlib.sha256(canonical_json([to_plain(entry) for entry in _entries(path, store=store)])).hexdigest()


def _entries(path: Path, *, store: Store) -> list[Entry]:
    # Without folders: a clone has no empty ones.
    found = source.scan(path, hash_file=store.hash_file, rules=ignore.parse(FOLDER_RULES))
    return [entry for entry in found.entries if entry.type != "dir"]


def _folder(name: str, *, path: Path, subdirectory: str, store: Store, scratch: Path) -> Source:
    """A copy of a folder, in which modes and times are the same wherever it was copied."""
    if not path.is_dir():
        raise ResolveError(
            f"the folder of `{name}` is not there: `{path}`", hint="put it there, or lock without that package"
        )
    copy = scratch / "folder"
    copy.mkdir()
    for entry in _entries(path, store=store):
        own, made = path / os.fsdecode(entry.path.encode()), copy / os.fsdecode(entry.path.encode())
        made.parent.mkdir(parents=True, exist_ok=True)
        if entry.type == "symlink":
            made.symlink_to(entry.target)
        else:
            shutil.copyfile(own, made)
            made.chmod(entry.mode)
            os.utime(made, (FOLDER_TIME, FOLDER_TIME))
    sha256 = hash_folder(copy, store=store)
    return Source(
        name=name, kind="directory", path=copy, url=os.fspath(path), sha256=sha256, subdirectory=subdirectory
    )  # fmt: skip


def brought(
    offer: Offer,
    *,
    kind: Literal["sdist", "archive"],
    store: Store,
    new_session: Callable[[], requests.Session],
    subdirectory: str = "",
) -> Source:
    """The source that is at an address, here and verified."""
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
    if built.source == "directory":
        path = (project / built.url).resolve()
        _check_inside(path, project=project, name=name)
        return _folder(name, path=path, subdirectory=built.subdirectory, store=store, scratch=scratch)
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
    filename = built.filename or archive_name(url.rpartition("/")[2])
    offer = Offer(name=name, version="", filename=filename, url=url, sha256=built.source_sha256, size=built.size)
    kind: Literal["sdist", "archive"] = "sdist" if built.source == "sdist" else "archive"
    return brought(offer, kind=kind, subdirectory=built.subdirectory, store=store, new_session=new_session)


def _cloned(
    name: str, *, place: str, subdirectory: str, scratch: Path, env: Mapping[str, str], commit: str = ""
) -> Source:
    path, url, found = repository.clone(name, place=place, folder=scratch / "clone", env=env, commit=commit)
    return Source(name=name, kind="git", path=path, url=url, commit=found, subdirectory=subdirectory)


def archive_name(name: str) -> str:
    """A name for a file inside, of the one that it has."""
    return "".join(c for c in name if c.isalnum() or c in "._+-")
