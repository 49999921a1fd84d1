"""The seed: an interpreter for a Nix sandbox that has nothing, from Debian packages, run by a loader of its own.

Files are laid out flat: `bin/python3`, `lib/ld.so` beside every shared library, `lib/python3.X`.  A pure function of
the packages.  And the codec: the package that this process compresses with, as it is installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from builder.codec import PACKAGES
from builder.errors import BackendError
from builder.layers.deb import Entry, read_data, verify
from builder.plan import Codec, Deb, DebianLayer, Plan

MACHINES = {"x86_64": ("amd64", "x86_64-linux-gnu"), "aarch64": ("arm64", "aarch64-linux-gnu")}
"""Debian's names of the architectures that a seed can be made for."""

PYTHONS = ("3.11", "3.13")
"""Those of the suites that bases are made of."""

LIBRARIES = ("libc6", "zlib1g", "libexpat1", "liblzma5", "libbz2-1.0", "libzstd1")
_OPENSSL = ("libssl3", "libssl3t64")
_UNUSED = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "unittest", "sqlite3")
_LOADERS = ("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1")
LOCK = "make the lock again with `cogsmith lock`, from a mirror that you trust"
_LIMIT = 256 << 20
"""Bytes of a package unpacked in memory; far above any of these."""


def debs_of(debs: Iterable[Deb], *, machine: str) -> tuple[Deb, ...]:
    """Those of the packages that make a seed for `machine` (as `uname -m` says); none if one is missing."""
    if machine not in MACHINES:
        return ()
    by_name = {deb.package: deb for deb in debs if deb.architecture in (MACHINES[machine][0], "all")}
    for python in PYTHONS:
        names = [f"python{python}-minimal", f"libpython{python}-minimal", f"libpython{python}-stdlib", *LIBRARIES]
        openssl = [name for name in _OPENSSL if name in by_name]
        if openssl and all(name in by_name for name in names):
            return tuple(by_name[name] for name in (*names, *openssl))
    return ()


def plan_debs(plan: Plan, *, machine: str) -> tuple[Deb, ...]:
    """The seed's packages among those of the plan's Debian base; none where it has no such base."""
    bases = [layer for layer in plan.layers if isinstance(layer, DebianLayer)]
    return next((found for base in bases if (found := debs_of(base.debs, machine=machine))), ())


def unpack(debs: Iterable[Deb], *, inputs: Mapping[str, Path], machine: str, target: Path, scratch: Path) -> None:
    """Write the seed made of `debs` to the new folder `target`; `inputs` has them by sha256, and they are verified."""
    triplet = MACHINES[machine][1]
    target.mkdir()
    for deb in debs:
        verify(inputs[deb.sha256], sha256=deb.sha256)
        with tempfile.TemporaryFile(dir=scratch) as spool:
            for entry in list(read_data(inputs[deb.sha256], spool=spool)):
                place = _place(entry.path, triplet=triplet)
                if place is not None:
                    _write(entry, spool=spool, target=target / place)
    loader = next((name for name in _LOADERS if (target / "lib" / name).exists()), None)
    if loader is None:
        raise BackendError("the Debian packages of the interpreter for Nix have no loader", hint=LOCK)
    (target / "lib" / "ld.so").symlink_to(loader)
    (python,) = (target / "bin").iterdir()
    (target / "bin" / "python3").symlink_to(python.name)


def copy_codec(codec: Codec, *, target: Path) -> None:
    """Write the package of the plan's codec, and `isal` where there is one, to the folder `target`, for `sys.path`.

    As they are installed here: `deflate` is built for every Python from 3.11 on; `isal` makes no bytes, and one for
    another Python is left aside by the packer.  `BackendError` where the codec is not installed in the plan's version.
    """
    versions(codec)
    target.mkdir()
    for one in filter(None, (_installed(PACKAGES[codec.name]), _installed("isal"))):
        for file in one.files or ():
            if ".." in file.parts or not (file.suffix in (".py", ".so") or file.name == "METADATA"):
                continue
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(one.locate_file(file)), place)


def versions(codec: Codec) -> list[str]:
    """What `copy_codec` would copy: each package with its version."""
    name = PACKAGES[codec.name]
    distribution, faster = _installed(name), _installed("isal")
    if distribution is None or distribution.version != codec.version:
        have = "it is not installed" if distribution is None else f"{distribution.version} is installed"
        raise BackendError(
            f"the plan's layers are compressed by `{name}` {codec.version}, but {have}",
            hint=f"`pip install {name}=={codec.version}`",
        )
    return [f"{name} {codec.version}", *([f"isal {faster.version}"] if faster else [])]


def _installed(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _place(path: str, *, triplet: str) -> str | None:
    """Where a path of a package lies in the seed; None for what no packer needs."""
    path = path.removeprefix("usr/")
    folder, name = posixpath.split(path)
    if folder == "bin" and name.startswith("python3."):
        return path
    if folder == f"lib/{triplet}" and ".so" in name:
        return f"lib/{name}"
    parts = path.split("/")
    if parts[0] == "lib" and len(parts) > 2 and parts[1].startswith("python3.") and parts[1] != "python3":
        return None if parts[2] in _UNUSED or parts[2].startswith("config-") else path
    return None


def _write(entry: Entry, *, spool: BinaryIO, target: Path) -> None:
    if entry.type not in ("file", "symlink"):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.type == "symlink":
        if "/" not in entry.linkname:  # others lead out of the seed: configuration in /etc
            target.symlink_to(entry.linkname)
        return
    if entry.size > _LIMIT:
        raise BackendError(f"`{entry.path}` of a Debian package is larger than any file of an interpreter", hint=LOCK)
    spool.flush()
    target.write_bytes(os.pread(spool.fileno(), entry.size, entry.offset))
    target.chmod(0o755 if entry.mode & 0o100 else 0o644)
