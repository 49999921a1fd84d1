"""Where PyTorch comes from: Cog adds an index to each pinned `torch` that holds its builds for a CPU, or for one CUDA.

Here that index is for PyTorch's own packages only, and only where the user has not said where packages come from:
settings of pip or uv, and options in the requirements, win.  No index is named here: uv knows PyTorch's own, and
`COGSMITH_TORCH_INDEX` names another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.report import Report
from builder.resolve import indexes
from builder.resolve.requirements import Requirements

PACKAGES = frozenset({"torch", "torchvision", "torchaudio"})
VARIABLE = "COGSMITH_TORCH_INDEX"
"""The URL above the folders `cpu`, `cu126`, ...; `off` leaves PyTorch to the other indexes."""

HINT = f"PyTorch was looked for in an index of its own, which `{VARIABLE}=off` prevents"

_LOCAL = re.compile(r"==\s*[0-9][^+;,\s]*\+(cpu|cu[0-9]{2,3})\b")

OnlyFrom = tuple[str, Sequence[str]]


def split(
    asked: Requirements, *, env: Mapping[str, str], accelerator: str, report: Report
) -> tuple[tuple[str, ...], OnlyFrom | None, tuple[str, ...]]:
    """The lines for all indexes, those for one index only with its URL, and more arguments for uv.

    `accelerator` is `cpu` or `cu126`; empty if nothing is known, and PyTorch then comes from where all else does.  A
    version that names its own (`torch==2.3.1+cu121`) has it.
    """
    mine = [line for line in asked.lines if _name(line) in PACKAGES]
    where = env.get(VARIABLE, "").strip()
    named = {match[1] for line in mine if (match := _LOCAL.search(line))}
    wanted = named.pop() if len(named) == 1 else accelerator
    hashed = PACKAGES & {name for name, _ in asked.hashes}  # of files that the other indexes have
    if not mine or not wanted or asked.has_index or hashed or where == "off":
        return asked.lines, None, ()
    if where:
        url = f"{where.rstrip('/')}/{wanted}"
        report.note(f"PyTorch for {wanted} comes from {indexes.without_user(url)}")
        return tuple(line for line in asked.lines if line not in mine), (url, mine), ()
    if indexes.has_own(env) or indexes.has_torch_backend(env):
        return asked.lines, None, ()
    report.note(f"PyTorch for {wanted} comes from its own index ({VARIABLE}=off: from where all else does)")
    return asked.lines, None, ("--torch-backend", wanted)


def _name(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return ""
