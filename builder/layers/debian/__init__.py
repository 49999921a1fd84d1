"""A Debian system from its packages, without running anything: unpacked as dpkg would, configured by models.

Standard library only, and of ours only `builder.errors` and the modules beside: pure, the same on every machine.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder.errors import LayerError
from builder.layers.debian.database import write_database
from builder.layers.debian.ldcache import update_cache
from builder.layers.debian.models import MODELS
from builder.layers.debian.scripts import KINDS, models_of
from builder.layers.debian.setup import ADMIN, Setup
from builder.layers.debian.unpack import Package, Unpacked, read_packages, unpack
from builder.layers.root import Root
from builder.layers.tar import Member

__all__ = ["System", "debian_members", "debian_root", "finish", "packages_of", "skeleton"]

_MERGED = {"amd64": ("bin", "lib", "lib64", "sbin"), "arm64": ("bin", "lib", "sbin")}
"""Links of a merged-/usr system, by architecture (where `base-files` does not hold them itself)."""


def debian_members(
    spec: Mapping[str, Any], inputs: Mapping[str, Path], threads: int = 1, scratch: Path | None = None
) -> Iterable[Member]:
    """The members of a Debian layer, sorted by path.

    `spec` is the plain form of a `DebianLayer`; `inputs` maps the sha256 of each of its packages to a local file, which
    is verified.  Content is kept in unnamed temporary files in `scratch` (default: the system's folder for those) for
    as long as the members are.  Raises `LayerError` for a package that is damaged or has a script that is not modelled,
    and where there is no room.
    """
    return debian_root(spec, inputs, threads, scratch).members()


def debian_root(
    spec: Mapping[str, Any], inputs: Mapping[str, Path], threads: int = 1, scratch: Path | None = None
) -> Root:
    """The system as a tree (see `debian_members`)."""
    system = System.new(spec)
    system.install(packages_of(spec, inputs, threads, scratch))
    return system.root


@dataclasses.dataclass(slots=True, kw_only=True)
class System:
    """A system with all that its database is written from."""

    root: Root
    architecture: str
    packages: list[Package] = dataclasses.field(default_factory=list)
    unpacked: Unpacked = dataclasses.field(default_factory=Unpacked)
    diversions: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def new(cls, spec: Mapping[str, Any]) -> System:
        """Nothing but the links of a merged-/usr system."""
        return cls(root=_merged(spec["architecture"], epoch=spec["epoch"]), architecture=spec["architecture"])

    def install(self, packages: list[Package]) -> None:
        """Unpack and configure packages that are not there yet; `LayerError` for what is not modelled."""
        _unpack(packages, root=self.root, unpacked=self.unpacked)
        for kind in KINDS:
            for package in sorted(packages, key=_order_of_scripts):
                _run(package, kind, root=self.root, architecture=self.architecture, diversions=self.diversions)
        self.packages += packages
        _triggers(self.packages, root=self.root)
        for path, (_, by) in self.diversions.items():
            owner = self.unpacked.owners.get(self.root.real(path))
            if owner is not None and owner != by:
                raise LayerError(f"`{path}` of `{owner}` is diverted by `{by}`, which is not modelled")
        lines = _diversions([(path, *target) for path, target in self.diversions.items()])
        self.root.write(f"{ADMIN}/diversions", lines)
        write_database(self.packages, root=self.root, unpacked=self.unpacked, architecture=self.architecture)
        finish(self.root)


def skeleton(
    spec: Mapping[str, Any], inputs: Mapping[str, Path], threads: int = 1, scratch: Path | None = None
) -> Root:
    """The packages' files alone, with an empty database: enough for the packages' own dpkg to install them again."""
    packages = packages_of(spec, inputs, threads, scratch)
    root = _merged(spec["architecture"], epoch=spec["epoch"])
    _unpack(packages, root=root, unpacked=Unpacked())
    root.write(f"{ADMIN}/arch", f"{spec['architecture']}\n")
    root.write(f"{ADMIN}/status", "")
    for name in ("info", "updates", "triggers"):
        root.mkdir(f"{ADMIN}/{name}")
    return root


def finish(root: Root) -> None:
    """What no package does: apt's sources, and an order for what dpkg keeps in the order of a hash table."""
    path = f"{ADMIN}/diversions"
    lines = root.read(path).decode("utf-8").splitlines() if root.exists(path) else []
    root.write(path, _diversions([(lines[i], lines[i + 1], lines[i + 2]) for i in range(0, len(lines), 3)]))
    # apt's own example for this release, cut down to `main`, as the official images have it.
    examples = "usr/share/doc/apt/examples"
    for name, folder in (("debian.sources", "etc/apt/sources.list.d"), ("sources.list", "etc/apt")):
        if root.exists(f"{examples}/{name}"):
            text = root.read(f"{examples}/{name}").decode("utf-8")
            text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
            text = re.sub(r"^(deb \S+ \S+) .*$", r"\1 main", text, flags=re.MULTILINE)
            text = re.sub(r"^Components:.*$", "Components: main", text, flags=re.MULTILINE)
            root.write(f"{folder}/{name}", text.strip("\n") + "\n")
            return


def packages_of(
    spec: Mapping[str, Any], inputs: Mapping[str, Path], threads: int, scratch: Path | None
) -> list[Package]:
    """The packages that `spec` names, read, by name; see `debian_members`."""
    debs = sorted(spec["debs"], key=lambda deb: str(deb["package"]))
    return read_packages([_input(deb, inputs) for deb in debs], threads=threads, scratch=scratch)


def _merged(architecture: str, *, epoch: int) -> Root:
    root = Root(epoch=epoch)
    for name in _MERGED[architecture]:
        root.mkdir(f"usr/{name}")
        root.symlink(name, f"usr/{name}")
    return root


def _unpack(packages: list[Package], *, root: Root, unpacked: Unpacked) -> None:
    # Folders that several packages hold get their mode from the first: `base-files` is the one that knows.
    for package in sorted(packages, key=lambda package: (package.name != "base-files", package.name)):
        unpack(package, root=root, unpacked=unpacked)


def _input(deb: Mapping[str, Any], inputs: Mapping[str, Path]) -> tuple[str, Path]:
    path = inputs.get(deb["sha256"])
    if path is None:
        raise LayerError(f"the packer was not given the Debian package `{deb['package']}` {deb['version']}")
    return deb["sha256"], path


_FIRST = ("base-passwd", "base-files")
"""Their scripts make what others ask for: users and groups, and the folders of the hierarchy."""


def _order_of_scripts(package: Package) -> tuple[int, str]:
    return (_FIRST.index(package.name) if package.name in _FIRST else len(_FIRST)), package.name


def _run(package: Package, kind: str, *, root: Root, architecture: str, diversions: dict[str, tuple[str, str]]) -> None:
    names = models_of(package.control, kind)
    if names is None:
        raise LayerError(
            f"`{kind}` of the Debian package `{package.name}` {package.control.fields['Version']} is not known",
            hint="resolve again: the base will be configured by its own dpkg",
        )
    for name in names:
        script = package.control.files[kind].data.decode("utf-8", errors="surrogateescape")
        setup = Setup(root=root, architecture=architecture, package=package, script=script, diversions=diversions)
        MODELS[name](setup)


def _triggers(packages: list[Package], *, root: Root) -> None:
    version = next((p.control.fields["Version"] for p in packages if p.name == "libc-bin"), None)
    if version is not None:
        update_cache(root, version=version)


def _diversions(items: list[tuple[str, str, str]]) -> str:
    return "".join(f"{path}\n{target}\n{package}\n" for path, target, package in sorted(items))
