"""The archives that an image's apt may choose from, verified: our own base's, or those of the image's sources.

Reads mirrors; the first that has an archive, and has it signed by a key that is trusted for it, is taken.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from builder.errors import FetchError, ResolveError
from builder.lock import DebianBase
from builder.report import Report
from builder.resolve.apt.image import Image
from builder.resolve.apt.lists import Archive
from builder.resolve.apt.sources import AptSource, image_sources
from builder.resolve.debian.archive import Suite, find_suite, find_suites, index_texts
from builder.resolve.debian.index import Index, Package
from builder.resolve.debian.mirrors import mirror_credentials, places, plain_mirrors, session_factory
from builder.resolve.debian.release import archive_keys
from builder.resolve.debian.sources import RELEASES
from builder.resolve.debian.version import sort_key
from builder.store import Store

if TYPE_CHECKING:
    import requests

_OFFICIAL = ("debian", "debian-security", "ubuntu", "ubuntu-ports")
"""How the URI of a distribution's own archive ends: what mirrors have is that, and no archive of somebody else's."""


class Archives:
    """Verified archives, and what is in them.  `where` names them in messages."""

    def __init__(self, archives: Sequence[Archive], *, architectures: Sequence[str], where: str) -> None:
        self.archives = tuple(archives)
        self.architectures = tuple(architectures)
        self.where = where
        self._indexes = {name: Index() for name in architectures}
        for archive in archives:
            for path, text in archive.indexes.items():
                for name, index in self._indexes.items():
                    # A flat archive has one index for all; what is not for this architecture is passed over by `find`.
                    if path.endswith((f"/binary-{name}/Packages", "/binary-all/Packages")) or "/" not in path:
                        index.add(text, mirrors=archive.mirrors)

    def newest(self, name: str) -> Package | None:
        """The newest package of that very name, for the first architecture that has one."""
        return next((found for index in self._indexes.values() if (found := index.get(name))), None)

    def providers(self, name: str) -> list[str]:
        """Names of the packages that provide a virtual package."""
        found = (package.name for index in self._indexes.values() for package in index.providers(name))
        return sorted(dict.fromkeys(found))

    def has(self, name: str) -> bool:
        """Whether there is such a package, or one that provides it."""
        return self.newest(name) is not None or bool(self.providers(name))

    def names(self) -> list[str]:
        """All names."""
        return sorted({name for index in self._indexes.values() for name in index.names})

    def versions(self, name: str) -> list[str]:
        """The versions of a package, the newest first."""
        found = {package.version for package in self._all(name)}
        return sorted(found, key=sort_key, reverse=True)

    def find(self, name: str, *, version: str, architecture: str) -> Package | None:
        """The very package, where an index has it."""

        def fits(package: Package | None) -> bool:
            return (
                package is not None
                and package.version == version
                and package.fields.get("Architecture") in (architecture, "all")
            )

        for index in self._indexes.values():
            if fits(newest := index.get(name)):
                return newest
        return next((package for package in self._all(name) if fits(package)), None)

    def _all(self, name: str) -> Iterator[Package]:
        start = re.compile(rb"^Package: " + re.escape(name.encode()) + rb"$", re.MULTILINE)
        for archive in self.archives:
            for text in archive.indexes.values():
                for found in start.finditer(text):
                    end = text.find(b"\n\n", found.start())
                    index = Index()
                    index.add(text[found.start() : end if end >= 0 else len(text)], mirrors=archive.mirrors)
                    package = index.get(name)
                    if package is not None:
                        yield package


def own_archives(
    base: DebianBase,
    *,
    mirrors: Sequence[str],
    store: Store,
    report: Report,
    keys: bytes | None = None,
    now: dt.datetime | None = None,
) -> Archives:
    """Debian's archives for a base that is made of its packages; arguments as of `resolve_debian`."""
    new_session = session_factory(mirror_credentials(mirrors))
    suites = find_suites(
        base.suite,
        mirrors=plain_mirrors(mirrors),
        keys=archive_keys() if keys is None else keys,
        report=report,
        now=now,
        new_session=new_session,
    )
    archives = [
        _archive(
            suite, uri=suite.mirrors[0], architectures=[base.architecture], components=("main",),
            store=store, report=report, new_session=new_session,
        )
        for suite in suites
    ]  # fmt: skip
    return Archives(archives, architectures=[base.architecture], where=f"Debian {base.suite}")


def image_archives(
    image: Image,
    *,
    architecture: str,
    debian: Sequence[str],
    ubuntu: Sequence[str],
    store: Store,
    report: Report,
    now: dt.datetime | None = None,
) -> Archives:
    """The archives of the image's sources: from the mirrors of `debian` and `ubuntu`, else from where the sources say.

    One that cannot be reached is left out, aloud, as `apt-get update` does.  Raises `ResolveError` if none can, and for
    one that is not signed as its source demands.
    """
    sources = image_sources(image)
    if not sources:
        raise ResolveError(
            "the base image has no sources of packages (`/etc/apt/sources.list`)",
            hint="choose an image that is Debian or Ubuntu, or install what is needed in an image of your own",
        )
    new_session = session_factory(mirror_credentials([*debian, *ubuntu]))
    architectures = [architecture, *_foreign(image)]
    found: list[Archive] = []
    problems: list[str] = []
    for source in sources:
        near = places(debian) if source.suite.partition("-")[0].partition("/")[0] in RELEASES else plain_mirrors(ubuntu)
        official = source.uri.rpartition("/")[2] in _OFFICIAL
        archive = None
        for mirror in [*(near if official else ()), source.uri]:
            try:
                archive = _offered(
                    source, mirror=mirror, architectures=architectures, store=store, report=report, now=now,
                    new_session=new_session,
                )  # fmt: skip
            except ResolveError:
                if mirror == source.uri:
                    raise
                continue  # that mirror has another archive of this name
            except FetchError as problem:
                problems.append(str(problem))
            if archive is not None:
                break
        if archive is not None:
            found.append(archive)
        else:
            problems.append(f"no index: {source.uri} {source.suite}")
            report.warn(f"no index of `{source.suite}` of {source.uri} can be had: its packages are left out")
    if not found:
        raise ResolveError(
            "none of the base image's sources of packages can be read",
            details="\n".join(problems),
            hint="name a mirror near this machine: COGSMITH_DEBIAN_MIRROR or COGSMITH_UBUNTU_MIRROR",
        )
    return Archives(found, architectures=architectures, where="the base image's sources")


def _offered(
    source: AptSource,
    *,
    mirror: str,
    architectures: Sequence[str],
    store: Store,
    report: Report,
    now: dt.datetime | None,
    new_session: Callable[[], requests.Session],
) -> Archive | None:
    with new_session() as session:
        suite = find_suite(
            source.suite, mirrors=[mirror], keys=source.keys, required=False, session=session, now=now,
            flat=source.flat,
        )  # fmt: skip
    if suite is None:
        return None
    made = _archive(
        suite, uri=source.uri, architectures=[name for name in architectures if source.is_for(name)],
        components=source.components, store=store, report=report, new_session=new_session,
    )  # fmt: skip
    # Where the image's own source is, the files are as well: a mirror that lost one need not be the end of it.
    return Archive(
        uri=made.uri, suite=made.suite, components=made.components, release=made.release, indexes=made.indexes,
        mirrors=tuple(dict.fromkeys((mirror, source.uri))),
    )  # fmt: skip


def _archive(
    suite: Suite,
    *,
    uri: str,
    architectures: Sequence[str],
    components: Sequence[str],
    store: Store,
    report: Report,
    new_session: Callable[[], requests.Session],
) -> Archive:
    indexes: dict[str, bytearray] = {}
    for architecture in architectures:
        indexes |= index_texts(
            suite, architecture=architecture, components=components, store=store, report=report,
            new_session=new_session,
        )  # fmt: skip
    return Archive(
        uri=uri, suite=suite.name, components=tuple(components), release=suite.data, indexes=indexes,
        mirrors=suite.mirrors,
    )  # fmt: skip


def _foreign(image: Image) -> list[str]:
    lines = (image.read("var/lib/dpkg/arch") or b"").decode("ascii", errors="replace").split()
    return lines[1:]
