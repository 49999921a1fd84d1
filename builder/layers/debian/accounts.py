"""Users and groups: what `base-passwd` and `shadowconfig on` write (passwd(5), shadow(5), gshadow(5)).  Pure."""

from __future__ import annotations

import dataclasses
import re

from builder.errors import LayerError
from builder.layers.debian.setup import Setup, here_document

_DAY = 86400


def base_passwd_files(setup: Setup) -> None:
    """`/etc/passwd` and `/etc/group` from the texts in the script itself."""
    for name in ("passwd", "group"):
        path = f"etc/{name}"
        if not setup.root.exists(path):
            setup.root.write(path, here_document(setup.script, after=f'cat > "$DPKG_ROOT/{path}" '))


def subordinate_ids(setup: Setup) -> None:
    """Empty `/etc/subuid` and `/etc/subgid`."""
    for path in ("etc/subuid", "etc/subgid"):
        if not setup.root.exists(path):
            setup.root.write(path, "")


def shadow_passwords(setup: Setup) -> None:
    """Move passwords to `/etc/shadow` and `/etc/gshadow`, as pwconv(8) and grpconv(8) do.

    The day of the last change is that of the epoch.  The aging values are those of `/etc/login.defs`.
    """
    root = setup.root
    shadow = setup.group("shadow")
    defs = root.read("etc/login.defs").decode("utf-8")
    aging = ":".join(_login_def(defs, name) for name in ("PASS_MIN_DAYS", "PASS_MAX_DAYS", "PASS_WARN_AGE"))
    users, shadows = [], []
    for line in root.read("etc/passwd").decode().splitlines():
        fields = line.split(":")
        shadows.append(f"{fields[0]}:{fields[1]}:{root.epoch // _DAY}:{aging}:::\n")
        users.append(":".join([fields[0], "x", *fields[2:]]) + "\n")
    groups, gshadows = [], []
    for line in root.read("etc/group").decode().splitlines():
        fields = line.split(":")
        gshadows.append(f"{fields[0]}:{fields[1]}::{fields[3]}\n")
        groups.append(":".join([fields[0], "x", *fields[2:]]) + "\n")
    root.write("etc/passwd", "".join(users))
    root.write("etc/group", "".join(groups))
    root.write("etc/shadow", "".join(shadows), mode=0o640, gid=shadow)
    root.write("etc/gshadow", "".join(gshadows), mode=0o640, gid=shadow)


def ssh_agent(setup: Setup) -> None:
    """`ssh-agent` belongs to a group of its own, so that no other program of its user may look into it."""
    node = setup.root.node("usr/bin/ssh-agent")
    if node is None:
        raise LayerError("`openssh-client` has no `/usr/bin/ssh-agent`")
    gid = _system_group(setup, "_ssh")
    setup.root.put("usr/bin/ssh-agent", dataclasses.replace(node, mode=0o2755, gid=gid))


def _system_group(setup: Setup, name: str) -> int:
    """`addgroup --system`: the first number that is free from 100 on."""
    root = setup.root
    lines = root.read("etc/group").decode()
    taken = {int(line.split(":")[2]) for line in lines.splitlines()}
    gid = next(number for number in range(100, 1000) if number not in taken)
    root.write("etc/group", f"{lines}{name}:x:{gid}:\n")
    shadow = setup.group("shadow")
    root.write("etc/gshadow", f"{root.read('etc/gshadow').decode()}{name}:!::\n", mode=0o640, gid=shadow)
    return gid


def _login_def(text: str, name: str) -> str:
    found = re.search(rf"^{name}[ \t]+(-?\d+)", text, re.MULTILINE)
    return found[1] if found else ""
