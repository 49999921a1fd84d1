"""Verified indexes in the form in which apt keeps those that it fetched: an image's apt then needs no network.

Writes into a folder that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from builder.frozen import frozen
from builder.resolve.apt.image import FOLDER

_QUOTED = r'\|{}[]<>"^~_=!@#$%^&*'
"""What apt writes as `%xx` in the names of its lists (`URItoFileName` of apt-pkg)."""


@frozen
class Archive:
    """One suite whose release and indexes were verified.

    `uri` is what the image's apt believes that it comes from; `indexes` are texts by their path below the release
    (`main/binary-amd64/Packages`), `mirrors` the base URLs that have its packages.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    release: bytes
    indexes: Mapping[str, bytearray]
    mirrors: tuple[str, ...]


def write_lists(archives: Sequence[Archive], *, folder: Path) -> None:
    """Fill `folder` with `sources.list` and `lists/` for apt; see `OPTIONS`."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    lines = []
    for archive in archives:
        where = archive.suite if archive.suite.endswith("/") else f"dists/{archive.suite}/"
        place = f"{archive.uri}/{'' if where == '/' else where}"
        (lists / list_name(f"{place}InRelease")).write_bytes(archive.release)
        for path, text in archive.indexes.items():
            (lists / list_name(place + path)).write_bytes(text)
        lines.append(" ".join(["deb", "[trusted=yes]", f"{archive.uri}/", archive.suite, *archive.components]))
    (folder / "sources.list").write_text("".join(f"{line}\n" for line in lines))
    for made in (folder, *folder.rglob("*")):
        made.chmod(0o755 if made.is_dir() else 0o644)


OPTIONS = {
    "Acquire::Languages": "none",
    "APT::Sandbox::User": "root",
    "Debug::NoLocking": "true",
    "Dir::Cache::pkgcache": "",
    "Dir::Cache::srcpkgcache": "",
    "Dir::Etc::sourcelist": f"{FOLDER}/sources.list",
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::State::lists": f"{FOLDER}/lists",
}
"""Settings by which apt reads what `write_lists` wrote, and nothing else."""


def options(extra: Iterable[tuple[str, str]] = ()) -> list[str]:
    """`OPTIONS` as arguments."""
    return [word for name, value in (*OPTIONS.items(), *extra) for word in ("-o", f"{name}={value}")]


def list_name(uri: str) -> str:
    """The name of the file that apt keeps of a URI: no scheme, no user, `%xx` for what is special, `_` for slashes."""
    parts = urlsplit(uri)
    plain = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    quoted = "".join(f"%{ord(c):02x}" if c in _QUOTED or not 0x20 < ord(c) < 0x7F else c for c in plain)
    return quoted.replace("/", "_")
