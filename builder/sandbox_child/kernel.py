"""System calls that Python 3.11 does not offer: unshare, mount, pivot_root, prctl, capset.  Stdlib only."""

# ruff: noqa: PTH123
# System calls go by their own names here.

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
CALLS = {"x86_64": (250, 16, 0xC000003E), "aarch64": (219, 29, 0xC00000B7)}
"""By machine: the numbers of keyctl and ioctl, and what seccomp calls the machine."""
SYS_MOUNT_SETATTR = 442
LIBC = ctypes.CDLL(None, use_errno=True)


class StageError(Exception):
    """One stage of the work failed with an errno; `text` says on what."""

    def __init__(self, stage: str, code: int, text: str) -> None:
        super().__init__(stage, code, text)
        self.stage, self.code, self.text = stage, code, text


def call(stage: str, name: str, *args: Any) -> None:
    """Call libc's function `name`; -1 becomes a `StageError`."""
    if getattr(LIBC, name)(*args) == -1:
        shown = " ".join(os.fsdecode(arg) for arg in args if isinstance(arg, bytes) and arg)
        raise StageError(stage, ctypes.get_errno(), f"{name} {shown}".strip())


def mount(stage: str, source: str, target: str, *, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, as the system call of that name does."""
    call(stage, "mount", os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode())


def bind(stage: str, source: int, target: str, *, flags: int = 0) -> None:
    """Bind what descriptor `source` names, with all below it, at `target`.

    `flags` (RDONLY, NOSUID, NODEV, NOEXEC) are added all the way down; what the source has already stays.
    """
    mount(stage, f"/proc/self/fd/{source}", target, flags=BIND | REC)
    if not flags:
        return
    attributes = struct.pack("=4Q", flags, 0, 0, 0)  # MOUNT_ATTR_* have the values of these four MS_*
    if LIBC.syscall(SYS_MOUNT_SETATTR, -100, os.fsencode(target), 0x8000, attributes, len(attributes)) == 0:
        return
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        points = [line.split()[4].replace("\\040", " ") for line in lines]
    for point in points:
        if point == target or point.startswith(target.rstrip("/") + "/"):
            add_flags(stage, point, flags)


def add_flags(stage: str, target: str, flags: int) -> None:
    """Add `flags` to one mount; those it has stay, as in a user namespace they must."""
    kept = os.statvfs(target).f_flag & (RDONLY | NOSUID | NODEV | NOEXEC)
    mount(stage, "", target, flags=BIND | REMOUNT | kept | flags)


def leave_keyring() -> None:
    """A session keyring of our own: the caller's, and what is in it, would be readable by whoever inherits it."""
    if os.uname().machine in CALLS:
        LIBC.syscall(CALLS[os.uname().machine][0], 1, None)  # where there is no keyctl, there is none inside either


def bar_typing() -> None:
    """Nothing in here may type into the caller's terminal (TIOCSTI, TIOCLINUX), nor call in a 32-bit or x32 way."""
    if os.uname().machine not in CALLS:
        return
    _, ioctl, machine = CALLS[os.uname().machine]
    load, equal, least, end = 0x20, 0x15, 0x35, 0x06  # of classic BPF: (code, steps on if so, if not, operand)
    steps = (
        (load, 0, 0, 4), (equal, 0, 6, machine),
        (load, 0, 0, 0), (least, 4, 0, 0x40000000), (equal, 0, 4, ioctl),
        (load, 0, 0, 24), (equal, 1, 0, 0x5412), (equal, 0, 1, 0x541C),
        (end, 0, 0, 0x00050000 | errno.EPERM), (end, 0, 0, 0x7FFF0000),
    )  # fmt: skip
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    call("seccomp", "prctl", PR_SET_SECCOMP, 2, struct.pack("@HP", len(steps), ctypes.addressof(program)), 0, 0)


def bar_core_access() -> None:
    """Keep the container's root from reaching this process's memory and executable through /proc."""
    call("prctl", "prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends; the kernel forgets this when ids change."""
    call("prctl", "prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)
