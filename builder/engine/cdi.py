"""NVIDIA GPUs by CDI (Container Device Interface), where the host describes them so: names instead of mounts.

Reads the host's specifications; starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from builder.engine.gpus import INSIDE
from builder.sandbox import Mount

KIND = "nvidia.com/gpu"
FOLDERS = ("etc/cdi", "var/run/cdi")


def replaced(mounts: Sequence[Mount], *, root: Path = Path("/")) -> tuple[list[str], list[Mount]]:
    """The CDI devices that stand for the GPUs among `mounts` (`engine.gpus`), and the mounts that remain.

    No device, and all the mounts, where there are no GPUs among them or the host has not described each of them.
    """
    numbers = [match[1] for mount in mounts if (match := re.fullmatch(r"/dev/nvidia(\d+)", mount.target))]
    described = names(root=root) if numbers else frozenset()
    if not numbers or not described.issuperset(numbers):
        return [], list(mounts)
    rest = [mount for mount in mounts if not mount.target.startswith(("/dev/nvidia", f"{INSIDE}/"))]
    return [f"{KIND}={number}" for number in numbers], rest


def names(*, root: Path = Path("/")) -> frozenset[str]:
    """The GPUs that the host's specifications describe."""
    found: set[str] = set()
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*.[jy][sa][om][nl]")) + sorted((root / folder).glob("*.yml")):
            found.update(_names(path))
    return frozenset(found)


def _names(path: Path) -> list[str]:
    import yaml  # JSON is YAML, too

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if document["kind"] != KIND:
            return []
        return [str(device["name"]) for device in document["devices"]]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return []
