"""System packages over a Debian base, without running anything: for those whose maintainer scripts are all known.

Member for member what the image's own apt and dpkg leave (`backends.apt`), which whoever calls this has to compare: the
digest of the executed layer is the measure.  Standard library only; pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.errors import LayerError
from builder.layers.deb import Control, read_control
from builder.layers.debian import System, packages_of
from builder.layers.debian.scripts import unknown_script
from builder.layers.delta import Changes, delta
from builder.layers.root import Node, Root
from builder.layers.tar import Member


def installed_members(
    spec: Mapping[str, Any], inputs: Mapping[str, Path], threads: int = 1, scratch: Path | None = None
) -> list[Member]:
    """The members of a layer of system packages, in its order.

    `spec` is the plain form of a `PackagesLayer`, with `base`, that of the `DebianLayer` right below.  `inputs` maps
    the sha256 of each package of both to a local file, which is verified.  Raises `LayerError` for what is not
    modelled.
    """
    base = spec["base"]
    there = {deb["package"] for deb in base["debs"]}
    for deb in spec["debs"]:
        if deb["package"] in there:
            raise LayerError(f"`{deb['package']}` replaces the base's, which is not modelled")
    packages = packages_of(spec, inputs, threads, scratch)
    if unknown := sorted(_unknown(package.control) for package in packages if _unknown(package.control)):
        raise LayerError(f"maintainer scripts have to be run, for what they do is not known: {', '.join(unknown)}")
    system = System.new(base)
    system.install(packages_of(base, inputs, threads, scratch))
    lower = Before(system.root)
    system.install(packages)
    # apt's own: a folder that it closes, and the list of what it installed unasked.
    system.root.put("var/cache/apt/archives/partial", Node(type="dir", mode=0o700, mtime=spec["epoch"]))
    system.root.write("var/lib/apt/extended_states", "")
    return delta(Changes(nodes=dict(system.root.walk("")), opaque={""}), lower=lower, epoch=spec["epoch"])


def unmodelled(packages: Iterable[Path]) -> list[str]:
    """Those of the package files that have a maintainer script which is not known: `git postinst`, by name."""
    return sorted(filter(None, (_unknown(read_control(path)) for path in packages)))


def _unknown(control: Control) -> str:
    kind = unknown_script(control)
    return "" if kind is None else f"{control.package} {kind}"


class Before:
    """A tree as it is now, for `delta` to compare with."""

    def __init__(self, root: Root) -> None:
        self._nodes = dict(root.walk(""))  # no model changes a node, it puts another one in its place
        names = Counter(map(id, self._nodes.values()))
        self._several = {number for number, count in names.items() if count > 1}
        self._names: dict[str, list[str]] = {}
        for path in self._nodes:
            folder, _, name = path.rpartition("/")
            self._names.setdefault(folder, []).append(name)

    def node(self, path: str) -> Node | None:
        """What is at `path`."""
        return self._nodes.get(path)

    def names(self, folder: str) -> Sequence[str]:
        """The names in a folder."""
        return self._names.get(folder, [])

    def identity(self, path: str) -> Hashable:
        """Equal for names of one file."""
        node = self._nodes.get(path)
        return id(node) if id(node) in self._several else None
