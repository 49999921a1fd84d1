"""The seed and the codec in the Nix store: put there once for each set of Debian packages, and remembered."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence

from builder.backends import Execution, Fetch, nix_seed
from builder.backends.nix_tool import Tool
from builder.errors import BackendError
from builder.frozen import frozen
from builder.plan import Deb, Plan, Remote, canonical_json, to_plain
from builder.report import Report
from builder.store import Store

FORMAT = 1
"""Of the seed's layout: raised when `nix_seed` writes other bytes."""

_KIND = "nix"


@frozen
class Tools:
    """Store paths of what runs the packer: the interpreter, and the packages of the codec."""

    seed: str
    codec: str


def tools(plan: Plan, *, tool: Tool, store: Store, fetch: Fetch, execution: Execution, report: Report) -> Tools:
    """The seed and the codec for `plan`, added to the Nix store where they are not there.

    The seed is made of packages of the plan's own Debian base; for other bases, of what made the last one here, or of
    those that `execution.debian` resolves.  `BackendError` where this machine can have none.
    """
    machine = os.uname().machine
    if machine not in nix_seed.MACHINES:
        raise BackendError(f"there is no interpreter for a Nix sandbox on {machine}", hint="use another backend")
    seed = _seed(plan, machine=machine, tool=tool, store=store, fetch=fetch, execution=execution, report=report)
    codec = _codec(plan, seed=seed, tool=tool, store=store)
    return Tools(seed=seed, codec=codec)


def _seed(
    plan: Plan, *, machine: str, tool: Tool, store: Store, fetch: Fetch, execution: Execution, report: Report
) -> str:
    last = f"seed {FORMAT} {machine} {tool.folder}"
    debs: Sequence[Deb] = nix_seed.plan_debs(plan, machine=machine)
    remotes: Sequence[Remote] = plan.remotes
    if not debs:
        known = store.memo(_KIND, last)
        if known and not tool.missing([known]):
            return known
        if execution.debian is None:
            raise BackendError(
                "the Nix sandbox needs an interpreter, and this image has no Debian base of this machine's kind",
                hint="build any project on the Debian base once with `--backend nix`",
            )
        found, remotes = execution.debian()
        debs = nix_seed.debs_of(found, machine=machine)
        if not debs:
            raise BackendError(
                "the Debian mirror lacks packages of the interpreter for the Nix sandbox",
                hint="name another mirror in COGSMITH_DEBIAN_MIRROR",
            )
    key = f"{last} {_hash([to_plain(deb) for deb in debs])}"
    known = store.memo(_KIND, key)
    if not known or tool.missing([known]):
        report.note("unpacking an interpreter for Nix's sandbox")
        hashes = {deb.sha256 for deb in debs}
        inputs = fetch([remote for remote in remotes if remote.sha256 in hashes])
        with store.scratch() as scratch:
            folder = scratch / "cogsmith-seed"
            nix_seed.unpack(debs, inputs=inputs, machine=machine, target=folder, scratch=scratch)
            known = tool.add_folder(folder)
        store.remember(_KIND, key, known)
    store.remember(_KIND, last, known)
    return known


def _codec(plan: Plan, *, seed: str, tool: Tool, store: Store) -> str:
    if plan.codec.name == "zstd":  # built for one Python only
        ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
        if not (tool.physical(seed) / "bin" / ours).exists():
            raise BackendError(
                f"zstd layers need the same Python in Nix's sandbox as here, and the seed there is not {ours}",
                hint="leave out `--layer-format zstd`, or run cogsmith by the Python of the image's Debian base",
            )
    versions = nix_seed.versions(plan.codec)
    key = f"codec {_hash([versions, sys.implementation.cache_tag])} {tool.folder}"
    known = store.memo(_KIND, key)
    if not known or tool.missing([known]):
        with store.scratch() as scratch:
            folder = scratch / "cogsmith-codec"
            nix_seed.copy_codec(plan.codec, target=folder)
            known = tool.add_folder(folder)
        store.remember(_KIND, key, known)
    return known


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()
