"""The file system a container sees: overlay or directory, /proc, /sys, /dev, the caller's mounts.  Stdlib only.

Nothing may be imported after `pivot_root`: the interpreter's own files are gone.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH106, PTH108, PTH110, PTH112, PTH120, PTH123, PTH211, S103, S108
# System calls go by their own names here.

from __future__ import annotations

import base64
import contextlib
import errno
import os
import stat
from typing import Any

from builder.sandbox_child.kernel import (
    BIND,
    DETACH,
    NODEV,
    NOEXEC,
    NOSUID,
    PRIVATE,
    RDONLY,
    REC,
    StageError,
    add_flags,
    bind,
    call,
    mount,
)

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEV_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def build_root(spec: dict[str, Any], tty: str | None) -> None:
    """Mount everything, move into it, and let go of the old root."""
    mount("mount", "", "/", flags=REC | PRIVATE)
    devices = [(name, os.open(f"/dev/{name}", os.O_PATH)) for name in DEVICES if os.path.exists(f"/dev/{name}")]
    if tty:
        devices.append(("console", os.open(tty, os.O_PATH)))
    outer = {name: os.open(name, os.O_PATH) for name in ("/", "/proc", "/sys")}
    os.chdir(spec["scratch"])
    os.mkdir("m")
    os.mkdir("t")
    sources = []
    for number, item in enumerate(spec["mounts"]):
        path = item["source"]
        if item["text"] is not None:
            path = f"f{number}"
            with open(path, "w", encoding="utf-8") as file:
                file.write(item["text"])
            os.chmod(path, 0o644)
        if item["data"] is not None:
            path = keep_in_memory(base64.b64decode(item["data"]), f"s/{number}")
        try:
            sources.append(None if path is None else os.open(path, os.O_PATH))
        except OSError as problem:
            raise StageError("mount source", problem.errno or 0, str(path)) from problem
    if spec["directory"]:
        mount("root", spec["directory"], "m", flags=BIND | REC)
        add_flags("root", "m", NODEV)
    else:
        mount_overlay(spec)
    os.chdir("m")
    inner = os.open(".", os.O_PATH)
    os.chroot(".")  # until all is mounted: no link of the image, and no `..`, leads out, while `sources` still can
    fill_root(spec, devices, outer)
    for item, source in zip(spec["mounts"], sources, strict=True):
        add_mount(item, source)
    try:
        protect_kernel()
    except StageError:
        if root_is_root():  # anybody else may set nothing but what is this container's own
            raise
    os.fchdir(outer["/"])
    os.chroot(".")
    os.fchdir(inner)
    call("root", "pivot_root", b".", b".")  # the old root now lies over the new one, see pivot_root(2)
    call("root", "umount2", b".", DETACH)
    os.chdir("/")
    if spec["directory"] and spec["readonly"]:
        add_flags("root", "/", RDONLY)
    for descriptor in [
        inner,
        *outer.values(),
        *(source for source in sources if source is not None),
        *dict(devices).values(),
    ]:
        os.close(descriptor)


def stay_outside(spec: dict[str, Any]) -> None:
    """This machine's own files, for a program that makes containers itself; what it mounts, only it sees.

    Its containers get what of the kernel it has: no device but the usual ones, and no control group to write to.
    """
    mount("mount", "", "/", flags=REC | PRIVATE)
    devices = [(name, os.open(f"/dev/{name}", os.O_PATH)) for name in DEVICES if os.path.exists(f"/dev/{name}")]
    os.chdir(spec["scratch"])
    sources = []
    for number, item in enumerate(spec["mounts"]):
        path = item["source"] if item["data"] is None else keep_in_memory(base64.b64decode(item["data"]), f"s/{number}")
        try:
            sources.append(None if path is None else os.open(path, os.O_PATH))
        except OSError as problem:
            raise StageError("mount source", problem.errno or 0, str(path)) from problem
    with contextlib.suppress(StageError):  # where parts of /proc are hidden from us, the outer one must do
        mount("proc", "proc", "/proc", kind="proc", flags=NOSUID | NODEV | NOEXEC)
    system = os.open("/sys", os.O_PATH)
    bind("sys", system, "/sys", flags=RDONLY)
    fill_dev(spec, devices)
    for item, source in zip(spec["mounts"], sources, strict=True):
        add_mount(item, source)
    for descriptor in [system, *dict(devices).values(), *(source for source in sources if source is not None)]:
        os.close(descriptor)


def keep_in_memory(data: bytes, path: str) -> str:
    """Write a file of root's alone to a file system that only this container's namespace has, and that ends with it."""
    if not os.path.isdir("s"):
        os.mkdir("s")
        mount("mount", "tmpfs", "s", kind="tmpfs", flags=NOSUID | NODEV | NOEXEC, data="mode=0700")
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o400)
    return path


def mount_overlay(spec: dict[str, Any]) -> None:
    """Mount the overlay at `m` in the current directory; short relative names keep the options within one page."""
    for number, path in enumerate(spec["lower"]):
        os.symlink(path, str(number))
    lower = ":".join(str(number) for number in reversed(range(len(spec["lower"]))))
    if spec["upper"]:
        os.symlink(spec["upper"], "u")
        os.symlink(spec["work"], "w")
        forget_volatile("w/work/incompat/volatile")
        places = [""]
    else:
        make_upper("")
        places = [
            "",
            "t/",
        ]  # the second: on a tmpfs, where the scratch directory is itself on an overlay or the network
    # Nothing of an overlay outlives a crash of the machine: what a command syncs need not reach the disk.
    choices = [
        ",userxattr,volatile",
        ",userxattr",
        *([] if spec["user_namespace"] else [""]),
    ]  # from new kernels to old
    for place in places:
        if place:
            mount("overlay", "tmpfs", "t", kind="tmpfs", flags=NOSUID | NODEV, data="mode=0755")
            make_upper(place)
        for choice in choices:
            options = f"lowerdir={lower},upperdir={place}u,workdir={place}w{choice}"
            try:
                mount("overlay", "overlay", "m", kind="overlay", flags=NODEV, data=options)
            except StageError as problem:
                failure = problem
                if problem.code != errno.EINVAL:
                    raise
            else:
                return
    raise failure


def forget_volatile(mark: str) -> None:
    """Take back what the kernel leaves of a volatile mount, so that nobody mounts it after a crash: ours ended well."""
    with contextlib.suppress(OSError):
        os.unlink(f"{mark}/dirty")
        os.rmdir(mark)


def make_upper(place: str) -> None:
    """The directories that take what the container writes; the upper one becomes `/`, hence its mode."""
    for name in ("u", "w"):
        os.mkdir(place + name)
        os.chmod(place + name, 0o755)


def make_target(target: str, *, directory: bool) -> str:
    """Make sure that a mount point exists in the new root and return where its links lead."""
    real = os.path.realpath(target)
    os.makedirs(real if directory else os.path.dirname(real), exist_ok=True)
    if not directory and not os.path.exists(real):
        os.close(os.open(real, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    return real


def fill_root(spec: dict[str, Any], devices: list[tuple[str, int]], outer: dict[str, int]) -> None:
    """/proc, /sys and a minimal /dev."""
    make_target("/proc", directory=True)
    try:
        mount("proc", "proc", "/proc", kind="proc", flags=NOSUID | NODEV | NOEXEC)
    except StageError as problem:
        if problem.code != errno.EPERM:
            raise
        os.fchdir(outer["/"])  # parts of /proc are hidden from us (we are in a container): use what there is
        mount("proc", "proc", "/proc", flags=BIND | REC)
        os.chdir("/")
    bind("sys", outer["/sys"], make_target("/sys", directory=True), flags=RDONLY)
    fill_dev(spec, devices)


def fill_dev(spec: dict[str, Any], devices: list[tuple[str, int]]) -> None:
    """A /dev with the usual devices, which are given as open descriptors."""
    make_target("/dev", directory=True)
    mount("dev", "tmpfs", "/dev", kind="tmpfs", flags=NOSUID | NODEV | NOEXEC, data="mode=0755,size=64m")
    for name, descriptor in devices:
        bind("dev", descriptor, make_target(f"/dev/{name}", directory=False))  # a mount of its own: not nodev
    for name, link in DEV_LINKS.items():
        os.symlink(link, f"/dev/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"/dev/{name}")
    group = "" if spec["single"] else ",gid=5"
    pts = f"newinstance,ptmxmode=0666,mode=0620{group}"
    mount("dev", "devpts", "/dev/pts", kind="devpts", flags=NOSUID | NOEXEC, data=pts)
    shm = f"mode=1777,size={spec['shm_size']}"
    mount("dev", "shm", "/dev/shm", kind="tmpfs", flags=NOSUID | NODEV | NOEXEC, data=shm)
    with contextlib.suppress(StageError):  # not in every kernel
        mount("dev", "mqueue", "/dev/mqueue", kind="mqueue", flags=NOSUID | NODEV | NOEXEC)


def add_mount(item: dict[str, Any], source: int | None) -> None:
    """One of the caller's mounts, inside the new root; no set-uid program works there, nor a device but itself."""
    try:
        directory = source is None or stat.S_ISDIR(os.fstat(source).st_mode)
        target = make_target(item["target"], directory=directory)
    except OSError as problem:
        raise StageError("mount target", problem.errno or 0, item["target"]) from problem
    if source is None:
        mount("mount", "tmpfs", target, kind="tmpfs", flags=NOSUID | NODEV, data="mode=1777")
    else:
        flags = NOSUID | (0 if item["device"] else NODEV) | (RDONLY if item["readonly"] else 0)
        bind("mount", source, target, flags=flags)


def root_is_root() -> bool:
    """Whether root in here is root of the machine (or of the user namespace around this one) to the kernel's files.

    In a user namespace, too, where ids are as they are: /proc/sys asks who opens a file, not with what capabilities.
    """
    with open("/proc/self/uid_map", encoding="utf-8") as rows:
        return any(row.split()[:2] == ["0", "0"] for row in rows)


def protect_kernel() -> None:
    """Hide or freeze what Docker hides or freezes of /proc and /sys: through them real root could set the host."""
    null = os.open("/dev/null", os.O_PATH)
    for path in MASKED:
        if os.path.isdir(path):
            mount("proc", "tmpfs", path, kind="tmpfs", flags=RDONLY | NOSUID | NODEV | NOEXEC, data="size=0")
        elif os.path.exists(path):
            bind("proc", null, path)
    os.close(null)
    for path in READ_ONLY:
        if os.path.exists(path):
            source = os.open(path, os.O_PATH)
            bind("proc", source, path, flags=RDONLY)
            os.close(source)
