"""Which system packages Nix may install without running anything: every script is known, and so is the digest.

The digest is that of the same layer by a backend that ran them, and Nix compares.
"""

from __future__ import annotations

from builder.backends import Fetch
from builder.backends.making import wanted_downloads
from builder.plan import DebianLayer, Layer, PackagesLayer, Plan


def why_not_modelled(plan: Plan, layer: Layer, *, fetch: Fetch) -> str:
    """Why `layer` has to come from somebody who runs commands; empty if not.  Fetches the packages, to look at them."""
    base = plan.layers[0]
    if not isinstance(layer, PackagesLayer):
        return "a command"
    if plan.layers[1] != layer or not isinstance(base, DebianLayer) or base.executed:
        return "not over a Debian base of packages"
    there = {deb.package for deb in base.debs}
    if replaced := [deb.package for deb in layer.debs if deb.package in there]:
        return f"replaces {', '.join(replaced)} of the base"
    from builder.layers.debian.installed import unmodelled

    wanted = wanted_downloads(layer)
    paths = fetch([remote for remote in plan.remotes if remote.sha256 in wanted])
    unknown = unmodelled(paths[deb.sha256] for deb in layer.debs)
    return f"scripts that have to be run: {', '.join(unknown)}" if unknown else ""
