"""The file of a package, as an index of Debian's or Ubuntu's names it: by hash, and where it can be had.  Pure."""

from __future__ import annotations

from builder.errors import ResolveError
from builder.plan import Deb, Remote
from builder.resolve.debian.index import Package
from builder.resolve.debian.release import OTHER_MIRROR


def deb_of(package: Package) -> Deb:
    """What an index says of a package; `ResolveError` if it says too little."""
    try:
        if "/" in package.name + package.version + package.fields["Architecture"]:  # files are written under them
            raise ValueError("its name, version or architecture is a path")
        return Deb(
            package=package.name,
            version=package.version,
            architecture=package.fields["Architecture"],
            filename=package.fields["Filename"],
            size=int(package.fields["Size"]),
            sha256=package.fields["SHA256"],
        )
    except (KeyError, ValueError) as problem:
        raise ResolveError(
            f"the index entry of the package `{package.name}` is incomplete or wrong: {problem}", hint=OTHER_MIRROR
        ) from problem


def remote_of(package: Package, deb: Deb) -> Remote:
    """Where the file can be had: on each mirror that has the index."""
    urls = tuple(f"{mirror}/{deb.filename.removeprefix('./')}" for mirror in package.mirrors)
    return Remote(sha256=deb.sha256, size=deb.size, name=deb.filename.rpartition("/")[2], urls=urls)
