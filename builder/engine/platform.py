"""Whether this machine can run an image at all: said before anything is unpacked.  Reads files of the kernel's only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.errors import SandboxError

MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
"""What the kernel calls a machine → what images call it."""
EMULATORS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}


def check(
    config: Mapping[str, Any], *, machine: str | None = None, binfmt: Path = Path("/proc/sys/fs/binfmt_misc")
) -> None:
    """`SandboxError` if the image whose configuration this is was made for another kind of machine.

    An emulator that the kernel knows (binfmt_misc) makes it one of ours.
    """
    machine = os.uname().machine if machine is None else machine
    own = MACHINES.get(machine, machine)
    wanted = config.get("architecture") or own
    system = config.get("os") or "linux"
    if system == "linux" and (wanted == own or (binfmt / EMULATORS.get(wanted, wanted)).exists()):
        return
    raise SandboxError(
        f"the image is for {system}/{wanted}, and this machine is linux/{own}",
        hint=f"build or pull it for this machine (`--platform linux/{own}`), or install `qemu-user-static`"
        if system == "linux"
        else "only Linux images can run here",
    )
