"""Debian's archive on its mirrors: signed releases and package indexes, read and verified.

Indexes go through `builder.fetch` and stay in the store by hash, so an unchanged one is downloaded once.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import lzma
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import requests
import urllib3

from builder.errors import FetchError, ResolveError
from builder.fetch import default_session, ensure
from builder.plan import Remote
from builder.report import Report
from builder.resolve.debian.index import Index
from builder.resolve.debian.mirrors import places
from builder.resolve.debian.release import OTHER_MIRROR, IndexFile, Release, check_suite, read_release
from builder.store import Store

MIRROR_HINT = "set COGSMITH_DEBIAN_MIRROR to the base URL of a Debian mirror (the folder that holds `dists` and `pool`)"
TIMEOUT = (10, 60)
"""Seconds to wait for a mirror: to connect, and for each read."""

_MAX_RELEASE = 8 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A signed release as one or more mirrors serve it (equal files only).

    `folder` is where it lies below a mirror: `dists/NAME`, or, of a flat archive, any path.  `data` is the signed text.
    """

    name: str
    folder: str
    data: bytes
    release: Release
    mirrors: tuple[str, ...]


def read_archive(
    suite: str,
    *,
    architecture: str,
    mirrors: Sequence[str],
    keys: bytes,
    store: Store,
    report: Report,
    now: dt.datetime | None = None,
    new_session: Callable[[], requests.Session] = default_session,
) -> Index:
    """The packages of `suite`, its updates and its security updates: `find_suites`, then `read_indexes`."""
    suites = find_suites(suite, mirrors=mirrors, keys=keys, report=report, now=now, new_session=new_session)
    return read_indexes(suites, architecture=architecture, store=store, report=report, new_session=new_session)


def find_suites(
    suite: str,
    *,
    mirrors: Sequence[str],
    keys: bytes,
    report: Report,
    now: dt.datetime | None = None,
    new_session: Callable[[], requests.Session] = default_session,
) -> tuple[Suite, ...]:
    """The signed releases of `suite`, its updates and its security updates, from whichever of `mirrors` have them.

    Credentials in a mirror's URL are left out: `new_session` makes sessions that know them.
    Raises `ResolveError` when no mirror has the suite, and when a release that a mirror does have is not signed.
    """
    if not mirrors:
        raise ResolveError("no Debian mirror is configured", hint=MIRROR_HINT)
    found = []
    for name in (suite, f"{suite}-updates", f"{suite}-security"):
        with new_session() as session:
            offered = find_suite(
                name, mirrors=places(mirrors), keys=keys, required=name == suite, session=session, now=now
            )
        if offered is not None:
            found.append(offered)
    if all(offered.name != f"{suite}-security" for offered in found):
        report.warn(f"no mirror has `{suite}-security`: the base is without security updates")
    return tuple(found)


def read_indexes(
    suites: Sequence[Suite],
    *,
    architecture: str,
    store: Store,
    report: Report,
    new_session: Callable[[], requests.Session] = default_session,
) -> Index:
    """The packages of `suites`.

    Raises `ResolveError` when an index is not what its release says; `FetchError` when it cannot be downloaded.
    """
    index = Index()
    for offered in suites:
        texts = index_texts(offered, architecture=architecture, store=store, report=report, new_session=new_session)
        for text in texts.values():
            index.add(text, mirrors=offered.mirrors)
    return index


def index_texts(
    suite: Suite,
    *,
    architecture: str,
    components: Sequence[str] = ("main",),
    store: Store,
    report: Report,
    new_session: Callable[[], requests.Session] = default_session,
) -> dict[str, bytearray]:
    """The package indexes of a suite by their paths below its release (`main/binary-amd64/Packages`).

    A flat archive has no `components`, and one index.  Raises as `read_indexes`.
    """

    def get(remote: Remote) -> Path:
        return ensure([remote], store=store, report=report, new_session=new_session)[remote.sha256]

    folders = _folders(suite, architecture, components=components)
    return {f"{folder}Packages": _index(suite, folder=folder, get=get) for folder in folders}


def indexes_id(suites: Sequence[Suite], *, architecture: str) -> list[list[str]]:
    """What decides the packages of `suites`: the hash of each index, and the mirrors that offer it."""
    return [
        [suite.name, *(_file(suite, folder=folder).sha256 for folder in _folders(suite, architecture)), *suite.mirrors]
        for suite in suites
    ]


def find_suite(
    name: str,
    *,
    mirrors: Sequence[str],
    keys: bytes,
    required: bool,
    session: requests.Session,
    now: dt.datetime | None = None,
    flat: bool = False,
) -> Suite | None:
    """The release `name` of the first mirror that has it, and all mirrors that serve the very same one.

    That of a `flat` archive lies at the path `name`, and need not say what it is called.
    """
    folder = name.strip("./") if flat else f"dists/{name}"
    first: bytes | None = None
    release: Release | None = None
    having: list[str] = []
    problems: list[str] = []
    for mirror in mirrors:
        url = "/".join(filter(None, (mirror, folder, "InRelease")))
        try:
            data = read_url(url, session=session)
        except FetchError as problem:
            problems.append(str(problem))
            continue
        if data is None:
            problems.append(f"`{shown(url)}` does not exist")
            continue
        if release is None:
            release = read_release(data, url=shown(url), keys=keys, now=now, named=not flat)
            if not flat:
                check_suite(release, wanted=name, url=shown(url))
            first = data
        if data == first:
            having.append(mirror)
    if release is None or first is None:
        if required:
            raise ResolveError(
                f"no Debian mirror has the suite `{name}`", details="\n".join(problems), hint=MIRROR_HINT
            )
        return None
    return Suite(name=name, folder=folder, data=first, release=release, mirrors=tuple(having))


def read_url(url: str, *, session: requests.Session) -> bytes | None:
    """A small file by `http:`, `https:` or `file:` URL; `None` where the mirror says that there is none.

    Raises `FetchError` when the mirror cannot be asked.
    """
    if url.startswith("file:"):
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise FetchError(f"could not read `{path}`: {problem.strerror}", hint=MIRROR_HINT) from problem
    try:
        with session.get(url, timeout=TIMEOUT, stream=True) as answer:
            if answer.status_code in (403, 404, 410):
                return None
            if answer.status_code != 200:
                raise FetchError(f"`{shown(url)}` answered {answer.status_code} {answer.reason}", hint=OTHER_MIRROR)
            data = answer.raw.read(_MAX_RELEASE + 1, decode_content=True)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as problem:  # `raw` gives urllib3's own
        raise FetchError(f"could not read `{shown(url)}`: {_reason(problem)}", hint=OTHER_MIRROR) from problem
    if len(data) > _MAX_RELEASE:
        raise FetchError(f"`{shown(url)}` is larger than any release file", hint=OTHER_MIRROR)
    return bytes(data)


def shown(url: str) -> str:
    """The URL without credentials, for messages."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _folders(suite: Suite, architecture: str, *, components: Sequence[str] = ("main",)) -> list[str]:
    if not components:
        return [""]
    known = suite.release.fields.get("Architectures", "").split()
    if architecture not in known:
        raise ResolveError(
            f"the suite `{suite.name}` has no packages for `{architecture}`",
            details=f"it has: {' '.join(known)}",
            hint=MIRROR_HINT,
        )
    names = [architecture]
    if "all" in known and suite.release.fields.get("No-Support-for-Architecture-all") != "Packages":
        names.append("all")
    return [f"{component}/binary-{name}/" for component in components for name in names]


def _file(suite: Suite, *, folder: str) -> IndexFile:
    files = suite.release.files
    path = next((f"{folder}Packages{end}" for end in (".xz", ".gz", "") if f"{folder}Packages{end}" in files), None)
    if path is None:
        raise ResolveError(f"the suite `{suite.name}` has no index `{folder}Packages`", hint=MIRROR_HINT)
    return files[path]


def _index(suite: Suite, *, folder: str, get: Callable[[Remote], Path]) -> bytearray:
    file = _file(suite, folder=folder)
    path = file.path
    bases = ["/".join(filter(None, (mirror, suite.folder))) for mirror in suite.mirrors]
    urls = [f"{base}/{path}" for base in bases]
    if suite.release.by_hash:
        urls = [f"{base}/{folder}by-hash/SHA256/{file.sha256}" for base in bases] + urls
    remote = Remote(sha256=file.sha256, size=file.size, name=f"{suite.name} packages", urls=tuple(urls))
    file_path = get(remote)
    try:
        return _plain(file_path, suffix=path.rpartition("Packages")[2])
    except (lzma.LZMAError, zlib.error) as problem:
        raise ResolveError(
            f"`{path}` of the suite `{suite.name}` cannot be decompressed: {problem}", hint=OTHER_MIRROR
        ) from problem


def _plain(path: Path, *, suffix: str) -> bytearray:
    # Piece by piece: an index is 60 MB, and should be in memory once.
    text = bytearray()
    decompressor: lzma.LZMADecompressor | zlib._Decompress | None = None
    if suffix:
        decompressor = lzma.LZMADecompressor() if suffix == ".xz" else zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while piece := file.read(1 << 18):
            text += decompressor.decompress(piece) if decompressor else piece
    return text


def _reason(problem: Exception) -> str:
    inner: BaseException = problem
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return str(inner) or type(problem).__name__
