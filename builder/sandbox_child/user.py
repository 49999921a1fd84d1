"""Who the command is: the image's user, with the capabilities that containers have.  Stdlib only."""

# ruff: noqa: PTH123
# System calls go by their own names here.

from __future__ import annotations

import errno
import os
import struct
from typing import Any

from builder.sandbox_child.kernel import LIBC, NEWUSER, PR_CAPBSET_DROP, StageError, call

CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
"""What Docker leaves: chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot
mknod audit_write setfcap."""
MKNOD = 27
"""Harmless in a user namespace (the kernel lets nobody open such a device there); real root could make the host's disk.
Docker has a device cgroup against that, and here is none."""


def enter_user_namespace(spec: dict[str, Any], status: int, control: int) -> None:
    """Leave for a user namespace; its maps are our own id alone, or written by the parent when asked."""
    uid, gid = os.geteuid(), os.getegid()
    call("user namespace", "unshare", NEWUSER)
    if spec["single"]:
        try:
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1\n"), ("gid_map", f"0 {gid} 1\n")):
                with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
                    file.write(text)
        except OSError as problem:
            raise StageError("id map", problem.errno or 0, f"/proc/self/{name}") from problem
        return
    os.write(status, b"map\n")
    if os.read(control, 1) != b"G":
        os._exit(125)
    os.setgroups([])


def drop_privileges(spec: dict[str, Any]) -> None:
    """Become the image's user with a container's capabilities; with a single id there is only root to be."""
    kept = {capability for capability in CAPABILITIES if capability != MKNOD or spec["user_namespace"]}
    for capability in range(64):
        if capability not in kept:
            LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # EINVAL for those that this kernel does not know
    if not spec["single"]:
        uid, gid, groups = read_ids(spec["user"] or "0")
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if uid:
            return
    mask = sum(1 << capability for capability in kept)
    header = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=6I", mask & 0xFFFFFFFF, mask & 0xFFFFFFFF, 0, mask >> 32, mask >> 32, 0)
    call("capabilities", "capset", header, data)


def read_ids(user: str) -> tuple[int, int, list[int]]:
    """uid, gid and groups of `user[:group]`, names looked up in the image's own files."""

    def rows(path: str) -> list[list[str]]:
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                return [line.rstrip("\n").split(":") for line in lines]
        except FileNotFoundError:
            return []

    name, _, group = user.partition(":")
    found = next((row for row in rows("/etc/passwd") if len(row) > 3 and name in (row[0], row[2])), None)
    if found is None and not name.isdigit():
        raise StageError("user", errno.ENOENT, name)
    uid, gid = (int(found[2]), int(found[3])) if found else (int(name), 0)
    groups = rows("/etc/group")
    if group:
        match = next((row for row in groups if len(row) > 2 and group in (row[0], row[2])), None)
        if match is None and not group.isdigit():
            raise StageError("user", errno.ENOENT, user)
        return uid, int(match[2]) if match else int(group), []
    login = found[0] if found else None
    return uid, gid, [int(row[2]) for row in groups if len(row) > 3 and login in row[3].split(",")]
