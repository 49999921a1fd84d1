"""Known ways out of a container, tried from inside as its root: none leads anywhere, and none leaves anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from builder import sandbox
from builder.sandbox import Mount

from .boxes import Box

WAYS = r"""
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
witness = sys.argv[1]
worked = []


def attempt(name):
    def decorate(function):
        child = os.fork()  # each in a process of its own: some change who and where it is
        if not child:
            try:
                os._exit(3 if function() else 0)
            except BaseException:
                os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3:
            worked.append(name)
    return decorate


def call(name, *arguments):
    return getattr(libc, name)(*arguments) >= 0


def writes(path):
    with open(path, "w") as file:
        file.write("x")
    return True


CLONE_NEWNS, CLONE_NEWUSER, MS_REMOUNT, MS_BIND = 0x20000, 0x10000000, 32, 4096


@attempt("a chroot in a chroot, and up")
def _():
    os.mkdir("/tmp/inner")
    out = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/inner")
    os.fchdir(out)
    for _ in range(200):
        os.chdir("..")
    os.chroot(".")
    return os.path.exists(witness)


@attempt("the name space of process 1")
def _():
    for kind in ("user", "mnt", "pid"):
        call("setns", os.open(f"/proc/1/ns/{kind}", os.O_RDONLY), 0)
    return os.path.exists(witness)


@attempt("the root of process 1")
def _():
    return os.path.exists("/proc/1/root" + witness)


@attempt("a file by its handle")  # "shocker": inode 2 of whatever /etc/hostname lies on
def _():
    class Handle(ctypes.Structure):
        _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 8)]
    handle = Handle(8, 1, (ctypes.c_ubyte * 8)(2))
    return call("open_by_handle_at", os.open("/usr", os.O_RDONLY), ctypes.byref(handle), os.O_RDONLY)


@attempt("a mount")
def _():
    return call("mount", b"none", b"/tmp", b"tmpfs", 0, None)


@attempt("a read-only mount, made writable")
def _():
    return call("mount", None, b"/usr", None, MS_REMOUNT | MS_BIND, None)


@attempt("a read-only mount, made writable in a name space of its own")
def _():
    if not call("unshare", CLONE_NEWUSER | CLONE_NEWNS):
        return False
    for path, line in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        try:
            with open(f"/proc/self/{path}", "w") as file:
                file.write(line)
        except OSError:
            pass
    call("mount", None, b"/usr", None, MS_REMOUNT | MS_BIND, None)
    return writes("/usr/cogsmith-was-here")


@attempt("what a read-only mount covers")
def _():
    if not call("unshare", CLONE_NEWUSER | CLONE_NEWNS):
        return False
    return call("umount2", b"/usr", 2) or call("umount2", b"/proc/sys", 2)


@attempt("the memory of process 1")
def _():
    return bool(os.pread(os.open("/proc/1/mem", os.O_RDWR), 1, 0x400000))


@attempt("a module")
def _():
    return call("syscall", 175, ctypes.c_void_p(), 0, b"")


@attempt("the host's name")
def _():
    return call("sethostname", b"owned", 5) and os.path.exists(witness)


@attempt("ports of the machine")
def _():
    return call("iopl", 3)


for path in '/proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/panic_on_oom /proc/sysrq-trigger \
            /sys/kernel/uevent_helper /sys/fs/cgroup/release_agent /proc/kcore /dev/mem /dev/kmsg'.split():
    attempt(path)(lambda path=path: os.open(path, os.O_RDWR) >= 0)
    attempt(path + ", to write")(lambda path=path: os.open(path, os.O_WRONLY) >= 0)


@attempt("any setting of the kernel")
def _():
    found = []
    for top in "/proc/sys/kernel /proc/sys/vm /proc/sys/fs /sys/kernel /sys/power /sys/module".split():
        for folder, _, names in os.walk(top):
            for name in names:
                try:
                    os.close(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_NONBLOCK))
                    found.append(f"{folder}/{name}")
                except OSError:
                    pass
    if found:
        print(found[:10], len(found), file=sys.stderr)
    return bool(found)


for number in (8, 1):
    attempt(f"device {number}")(lambda number=number: os.mknod("/tmp/device", 0o60666, os.makedev(number, 0)) or True)
print(json.dumps([worked, sorted(os.listdir("/proc/self/fd"))]))
"""


@pytest.mark.parametrize("users", [False, True], ids=["as it is", "private users"])
def test_no_way_out(box: Box, tmp_path: Path, users: bool) -> None:
    witness = tmp_path / "witness"
    witness.write_text("untouched")
    script = tmp_path / "ways.py"
    script.write_text(WAYS)
    mounts = (*box.spec().mounts, Mount(target="/ways.py", source=script, readonly=True))
    out = tmp_path / "out"
    spec = box.spec("/usr/bin/python3", "-I", "/ways.py", str(witness), mounts=mounts, private_users=users)
    inherited = os.open(witness, os.O_RDWR)
    os.set_inheritable(inherited, True)
    try:
        with out.open("wb") as file:
            assert sandbox.run(spec, stdout=file) == 0
    finally:
        os.close(inherited)
    worked, descriptors = json.loads(out.read_text())
    assert worked == []
    assert descriptors == ["0", "1", "2", "3"]  # the last one is of listing them
    assert witness.read_text() == "untouched"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not Path("/usr/cogsmith-was-here").exists()
    assert box.leftovers() == []
