"""The Debian base: from a suite and mirrors to the exact packages of a small system with Python.

Reads the signed indexes and the packages' maintainer scripts; makes no layer.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder.errors import ResolveError
from builder.fetch import ensure
from builder.layers.deb import read_control
from builder.layers.debian.scripts import unknown_script
from builder.lock import DebianBase
from builder.plan import Deb, Interpreter, Remote, canonical_json
from builder.report import Report
from builder.resolve.debian.archive import find_suites, indexes_id, read_indexes
from builder.resolve.debian.closure import closure
from builder.resolve.debian.files import deb_of, remote_of
from builder.resolve.debian.index import Package
from builder.resolve.debian.mirrors import mirror_credentials, plain_mirrors, session_factory, with_mirrors
from builder.resolve.debian.release import OTHER_MIRROR, archive_keys
from builder.resolve.debian.sources import host_mirrors
from builder.store import Store

__all__ = ["PACKAGES", "host_mirrors", "mirror_credentials", "resolve_debian", "with_mirrors"]

PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
"""The Python of each suite that can be a base."""

PACKAGES = {
    suite: (
        "apt",
        "ca-certificates",
        "netbase",  # /etc/services and /etc/protocols, as the official Python images have them
        "passwd",  # useradd and groupadd, which build commands expect
        "python3",
        "python3-venv",
        "tini",  # the image's entrypoint
        "tzdata",  # for zoneinfo
        *extra,
    )
    # Of the alternatives `usrmerge | usr-is-merged`, the one without Perl: these systems are born merged.
    for suite, extra in {"bookworm": ("usr-is-merged",), "trixie": ()}.items()
}
"""What a base holds beyond the essential packages, by suite."""

_CHOICE = 1
"""Raised whenever `closure` would choose other packages from the same indexes: what it chose is remembered."""

_FIELDS = ("Architecture", "Filename", "Size", "SHA256")


def resolve_debian(
    *,
    suite: str,
    architecture: str,
    mirrors: Sequence[str],
    store: Store,
    report: Report,
    keys: bytes | None = None,
    now: dt.datetime | None = None,
) -> tuple[DebianBase, Interpreter, tuple[Remote, ...]]:
    """The newest packages of `suite` (with updates and security updates) that make a base for `architecture`.

    `mirrors` are base URLs (`http:`, `https:`, `file:`), the preferred one first; a snapshot of the archive is a
    mirror like any other.  Credentials in them are used here, and left out of what is returned.  `keys` (binary OpenPGP
    certificates) replace Debian's own.  With `now`, expired keys and outdated releases are refused.  What was chosen
    from indexes of the same hashes before is remembered: reading them takes seconds.  The packages are downloaded into
    `store`, because whether the base is a pure layer depends on their maintainer scripts.  Raises `ResolveError` or
    `FetchError`.
    """
    if suite not in PYTHON:
        raise ResolveError(f"`{suite}` is not a Debian suite that can be a base", hint=f"use {' or '.join(PYTHON)}")
    new_session = session_factory(mirror_credentials(mirrors))
    suites = find_suites(
        suite,
        mirrors=plain_mirrors(mirrors),
        keys=archive_keys() if keys is None else keys,
        report=report,
        now=now,
        new_session=new_session,
    )
    wanted = PACKAGES[suite]
    state = [_CHOICE, architecture, wanted, indexes_id(suites, architecture=architecture)]
    key = hashlib.sha256(canonical_json(state)).hexdigest()
    if remembered := store.memo("debian packages", key):
        packages = {kept["name"]: Package(**kept) for kept in json.loads(remembered)}
    else:
        index = read_indexes(suites, architecture=architecture, store=store, report=report, new_session=new_session)
        packages = closure(index, wanted=wanted)
        store.remember("debian packages", key, json.dumps([_kept(package) for package in packages.values()]))
    debs = tuple(deb_of(packages[name]) for name in sorted(packages))
    remotes = tuple(remote_of(packages[deb.package], deb) for deb in debs)
    paths = ensure(remotes, store=store, report=report, new_session=new_session)
    reason = unmodelled(debs, paths=paths)
    if reason:
        report.warn(f"the Debian base will be configured by its own dpkg: {reason}")
    base = DebianBase(suite=suite, architecture=architecture, debs=debs, executed=bool(reason), reason=reason)
    return base, _interpreter(packages, suite=suite), remotes


def unmodelled(debs: Sequence[Deb], *, paths: dict[str, Path]) -> str:
    """Why these packages cannot be configured without running anything; empty if they can."""
    for deb in debs:
        control = read_control(paths[deb.sha256])
        script = unknown_script(control)
        if script:
            return f"`{script}` of `{deb.package}` {deb.version} is not known to this version"
    return ""


def _kept(package: Package) -> dict[str, Any]:
    fields = {name: package.fields[name] for name in _FIELDS if name in package.fields}
    return {"name": package.name, "version": package.version, "fields": fields, "mirrors": package.mirrors}


def _interpreter(packages: dict[str, Package], *, suite: str) -> Interpreter:
    minor = PYTHON[suite]
    package = packages.get(f"python{minor}-minimal")
    if package is None:
        raise ResolveError(f"the suite `{suite}` of these mirrors has no Python {minor}", hint=OTHER_MIRROR)
    version = package.version.rpartition(":")[2].partition("-")[0].partition("~")[0].partition("+")[0]
    return Interpreter(path=f"/usr/bin/python{minor}", version=version)
