"""From the wheels that an index offers to the one file that an image gets: the best by tags, with its hash and size."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder import fetch
from builder.errors import FetchError, ResolveError
from builder.frozen import frozen
from builder.plan import Remote, Wheel
from builder.store import Store

if TYPE_CHECKING:
    import requests

PARALLEL = 8
TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""

_OLDEST_GLIBC_MINOR = {"x86_64": 5, "aarch64": 17}
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class UnsatisfiableError(ResolveError):
    """What was asked for cannot be had for this Python and platform, and perhaps for another."""


@frozen
class Offer:
    """A wheel as a lock names it: `url` is http(s) or `file:`; `sha256` or `size` may be unknown (empty, 0)."""

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    size: int


def image_tags(*, python_minor: str, machine: str, glibc: str) -> tuple[Tag, ...]:
    """The wheel tags that an image supports, best first: CPython `python_minor` (`3.11`) on Linux with that glibc."""
    version = tuple(int(part) for part in python_minor.split("."))
    platforms = []
    for minor in range(int(glibc.split(".")[1]), _OLDEST_GLIBC_MINOR[machine] - 1, -1):
        platforms.append(f"manylinux_2_{minor}_{machine}")
        if minor in _LEGACY:
            platforms.append(f"{_LEGACY[minor]}_{machine}")
    platforms.append(f"linux_{machine}")
    interpreter = "cp" + python_minor.replace(".", "")
    # The ABI is named, or the host's own build flags would shape it.
    own = cpython_tags(version, abis=[interpreter], platforms=platforms)
    return (*own, *compatible_tags(version, interpreter=interpreter, platforms=platforms))


def offers(lock: Mapping[str, Any], *, folder: Path) -> dict[str, list[Offer]]:
    """The wheels in a PEP 751 document that lies in `folder`, by package name."""
    found: dict[str, list[Offer]] = {}
    for package in lock.get("packages", ()):
        name = canonicalize_name(package["name"])
        files = [*package.get("wheels", ()), *([package["archive"]] if "archive" in package else ())]
        found[name] = [
            _offer(file, name=name, version=package.get("version", ""), folder=folder)
            for file in files
            if _file_name(file).endswith(".whl")
        ]
    return found


def _offer(file: Mapping[str, Any], *, name: str, version: str, folder: Path) -> Offer:
    url = file["url"] if "url" in file else (folder / file["path"]).resolve().as_uri()
    return Offer(
        name=name,
        version=version,
        filename=_file_name(file),
        url=url,
        sha256=file.get("hashes", {}).get("sha256", ""),
        size=file.get("size", 0),
    )


def _file_name(file: Mapping[str, Any]) -> str:
    place = unquote(urlsplit(file["url"]).path) if "url" in file else file["path"]
    return file.get("name") or str(place).rpartition("/")[2]


def choose(candidates: Sequence[Offer], *, name: str, tags: Sequence[Tag], target: str) -> Offer:
    """The candidate with the best tag, then the highest build number."""
    rank = {tag: i for i, tag in enumerate(tags)}
    ranked = []
    for offer in candidates:
        try:
            _, version, build, own = parse_wheel_filename(offer.filename)
        except InvalidWheelFilename as problem:
            raise ResolveError(
                f"the index offers a wheel with a malformed name: {offer.filename}",
                hint="remove it from the index, or ask for another version",
            ) from problem
        best = min((rank[tag] for tag in own if tag in rank), default=None)
        if best is not None:
            full = dataclasses.replace(offer, version=offer.version or str(version))
            ranked.append(((-best, build), full))
    if not ranked:
        raise UnsatisfiableError(
            f"`{name}` has no wheel for {target}",
            details="\n".join(offer.filename for offer in candidates) or None,
            hint="choose a version that has a wheel for it",
        )
    return max(ranked, key=lambda item: item[0])[1]


def complete(
    chosen: Iterable[Offer], *, store: Store, new_session: Callable[[], requests.Session]
) -> tuple[tuple[Wheel, ...], tuple[Remote, ...]]:
    """Wheels and where they are, sorted by name; what the index did not tell of hash and size is found out."""

    def fill(offer: Offer) -> Offer:
        return _fill(offer, store=store, new_session=new_session)

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        full = sorted(pool.map(fill, chosen), key=lambda offer: offer.name)
    wheels = tuple(
        Wheel(name=o.name, version=o.version, filename=o.filename, size=o.size, sha256=o.sha256) for o in full
    )
    return wheels, tuple(Remote(sha256=o.sha256, size=o.size, name=o.filename, urls=(o.url,)) for o in full)


def bring(offer: Offer, *, store: Store, new_session: Callable[[], requests.Session]) -> tuple[Path, Offer]:
    """A file that is not a wheel of the lock (a source), on this disk and verified; and the offer, completed."""
    if offer.url.startswith("file:"):
        return Path(unquote(urlsplit(offer.url).path)), _fill_local(offer, store=store)
    if not offer.sha256 or not store.has_file(offer.sha256):
        with new_session() as session:
            offer = _download(offer, store=store, session=session)
    path = store.file_path(offer.sha256)
    return path, dataclasses.replace(offer, size=path.stat().st_size)


def _fill(offer: Offer, *, store: Store, new_session: Callable[[], requests.Session]) -> Offer:
    if offer.url.startswith("file:"):
        return _fill_local(offer, store=store)
    if offer.sha256 and offer.size:
        return offer
    if offer.sha256 and store.has_file(offer.sha256):
        return dataclasses.replace(offer, size=store.file_path(offer.sha256).stat().st_size)
    known = store.memo("wheel-size", offer.sha256) if offer.sha256 else None
    if known:
        return dataclasses.replace(offer, size=int(known))
    with new_session() as session:
        size = _size(offer.url, session=session) if offer.sha256 else 0
        if not size:
            return _download(offer, store=store, session=session)
    store.remember("wheel-size", offer.sha256, str(size))
    return dataclasses.replace(offer, size=size)


def _fill_local(offer: Offer, *, store: Store) -> Offer:
    path = Path(unquote(urlsplit(offer.url).path))
    try:
        status = path.stat()
        sha256 = store.hash_file(path, status)
    except OSError as problem:
        raise ResolveError(
            f"could not read `{path}`: {problem.strerror}", hint="an index of yours names it: put it there, or drop it"
        ) from problem
    if offer.sha256 not in ("", sha256):
        raise ResolveError(
            f"`{path}` is not the file that its index names",
            details=f"expected sha256 {offer.sha256}\nfound    sha256 {sha256}",
            hint="make the index again, or replace the file",
        )
    return dataclasses.replace(offer, sha256=sha256, size=status.st_size)


def _size(url: str, *, session: requests.Session) -> int:
    """The file's size in bytes as the server tells it without sending it; 0 if it does not."""
    with fetch.network_problem(FetchError, f"could not ask for {fetch.without_credentials(url)}"):
        answer = session.head(url, allow_redirects=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.ok and length.isdecimal() else 0


def _download(offer: Offer, *, store: Store, session: requests.Session) -> Offer:
    """Fetch a wheel of which the index tells too little, or a source, into the store."""
    digest = hashlib.sha256()
    place = fetch.without_credentials(offer.url)
    with store.scratch() as scratch:
        path = scratch / "wheel"
        with (
            fetch.network_problem(FetchError, f"could not download {place}"),
            session.get(offer.url, stream=True, timeout=TIMEOUT) as answer,
            path.open("wb") as out,
        ):
            if not answer.ok:
                raise FetchError(
                    f"could not download {place}",
                    details=f"HTTP status {answer.status_code} {answer.reason or ''}".rstrip(),
                    hint="the file may be gone: ask for another version, or look in another index"
                    if answer.status_code in (404, 410)
                    else "check the credentials of the index, or try again later",
                )
            for piece in answer.iter_content(1 << 18):
                digest.update(piece)
                out.write(piece)
        if offer.sha256 not in ("", digest.hexdigest()):
            raise FetchError(
                f"{offer.filename} is not the file that the index names",
                details=f"expected sha256 {offer.sha256}\nfound    sha256 {digest.hexdigest()}",
                hint="the index, or something on the way, is wrong: try again, or use another index",
            )
        store.add_file(path)
        size = path.stat().st_size
    return dataclasses.replace(offer, sha256=digest.hexdigest(), size=size)
