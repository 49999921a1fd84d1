"""What was locked before, for apt to choose again: pinned versions, and an archive of those that no mirror has now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builder.errors import FetchError
from builder.fetch import ensure
from builder.frozen import frozen
from builder.layers.deb import STANDARD, Decompressors, read_control
from builder.plan import Deb, Remote
from builder.report import Report
from builder.resolve.apt.archives import Archives
from builder.resolve.apt.lists import Archive
from builder.store import Store

_URI = "http://locked.invalid"
_PRIORITY = 991
"""Before the target release (990), and not above what is installed (1000): nothing of the base is downgraded."""


@frozen
class Kept:
    """What apt is given besides: an archive, and lines of apt_preferences(5)."""

    archive: Archive
    preferences: bytes


def kept_archive(
    debs: Iterable[Deb], *, archives: Archives, remotes: Sequence[Remote], store: Store, report: Report
) -> Kept:
    """Pins for `debs`.  Those that are in no index any more are read from their files; one that is lost is not kept."""
    pins, text = [], bytearray()
    for deb in debs:
        if archives.find(deb.package, version=deb.version, architecture=deb.architecture) is None:
            try:
                text += _paragraph(deb, remotes=remotes, store=store, report=report)
            except FetchError:
                continue
        pins.append(f"Package: {deb.package}\nPin: version {deb.version}\nPin-Priority: {_PRIORITY}\n\n")
    archive = Archive(
        uri=_URI,
        suite="./",
        components=(),
        release=b"Origin: Cogsmith\nLabel: Cogsmith\n",
        indexes={"Packages": text},
        mirrors=(),
    )
    return Kept(archive=archive, preferences="".join(pins).encode())


def _paragraph(deb: Deb, *, remotes: Sequence[Remote], store: Store, report: Report) -> bytes:
    own = [remote for remote in remotes if remote.sha256 == deb.sha256]
    if not own and not store.has_file(deb.sha256):
        raise FetchError(
            f"no place to get `{deb.package}` {deb.version} from is known",
            hint="lock it anew: `cogsmith lock --upgrade`",
        )
    path = ensure(own, store=store, report=report)[deb.sha256] if own else store.file_path(deb.sha256)
    fields = read_control(path, decompressors=_decompressors()).fields
    fields |= {"Filename": deb.filename, "Size": str(deb.size), "SHA256": deb.sha256}
    return "".join(f"{name}: {value}\n" for name, value in fields.items()).encode() + b"\n"


def _decompressors() -> Decompressors:
    import zstandard

    return {**STANDARD, ".zst": lambda: zstandard.ZstdDecompressor().decompressobj()}
