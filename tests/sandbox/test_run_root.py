"""What a command finds: its root and mounts, devices, privileges and network."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from builder import sandbox
from builder.errors import SandboxError
from builder.sandbox import Directory, Mount, Overlay

from .boxes import Box, system_links

DOCKER_CAPABILITIES = 0x00000000A80425FB
MKNOD = 1 << 27


def directory(box: Box) -> Path:
    """A root that is one directory of the host."""
    root = box.folder / "root"
    system_links(root)
    for name in ("proc", "sys", "dev", "usr"):
        (root / name).mkdir()
    return root


def test_writes_go_nowhere_else(box: Box) -> None:
    (box.lower / "kept").write_text("old")
    (box.lower / "gone").mkdir()
    assert box.output("echo new > /kept; rm -r /gone; mkdir /more; cat /kept; ls -d /gone || true") == "new\n"
    assert (box.lower / "kept").read_text() == "old"
    assert (box.lower / "gone").exists()
    assert not (box.lower / "more").exists()
    assert box.leftovers() == []


def test_an_upper_directory_of_the_caller_stays(box: Box) -> None:
    upper, work = box.folder / "upper", box.folder / "work"
    upper.mkdir()
    work.mkdir()
    root = Overlay(lower=(box.lower,), upper=upper, work=work)
    assert box.output("mkdir -p /a/b; echo 1 > /a/b/c; chmod 000 /a/b", root=root) == ""
    (upper / "a" / "b").chmod(0o700)
    assert (upper / "a" / "b" / "c").read_text() == "1\n"
    (upper / "a" / "b").chmod(0)
    for path in (upper, work):
        sandbox.remove_tree(path)
        assert not path.exists()


def test_mounts(box: Box) -> None:
    ours = box.folder / "ours"
    (ours / "sub").mkdir(parents=True)
    (ours / "file").write_text("f")
    mounts = (
        *box.spec().mounts,
        Mount(target="/rw", source=ours),
        Mount(target="/ro", source=ours, readonly=True),
        Mount(target="/deep/er/file", source=ours / "file", readonly=True),
        Mount(target="/empty"),
    )
    script = """
    echo w > /rw/written
    echo w > /ro/no && exit 1
    echo w > /deep/er/file && exit 1
    cat /deep/er/file; ls /ro /empty; echo w > /empty/x; echo w > /usr/x && exit 1; true
    """
    text = box.output(script.replace("&& exit 1", "2>/dev/null && exit 1 || true"), mounts=mounts)
    assert text.split() == ["f/empty:", "/ro:", "file", "sub", "written"]
    assert (ours / "written").read_text() == "w\n"
    assert not (ours / "no").exists()


def test_a_mount_whose_source_is_missing(box: Box) -> None:
    with pytest.raises(SandboxError, match=r"could not mount .*nowhere"):
        sandbox.run(box.spec("true", mounts=(Mount(target="/x", source=box.folder / "nowhere"),)))
    assert box.leftovers() == []


def test_a_read_only_mount_covers_what_is_mounted_below(box: Box) -> None:
    # /proc has file systems below it on most machines; /dev always here: devpts, shm
    mounts = (*box.spec().mounts, Mount(target="/host", source=Path("/dev"), readonly=True))
    script = "touch /host/shm/x 2>/dev/null && exit 1; touch /host/y 2>/dev/null && exit 1; ls /host/shm >/dev/null"
    assert box.output(script, mounts=mounts) == ""


def test_devices(box: Box) -> None:
    script = """
    echo x > /dev/null; head -c 3 /dev/zero | od -An -c; head -c 4 /dev/urandom | wc -c
    (echo fd > /dev/fd/1) | cat; (echo out > /dev/stdout) | cat; echo x > /dev/shm/a; ls /dev/mqueue /dev/shm
    stat -fc %T /dev/shm; mkfifo /tmp-fifo; python3 -c 'import pty, os; print(os.ttyname(pty.openpty()[1]))'
    """
    words = box.output(script).split()
    assert words == ["\\0", "\\0", "\\0", "4", "fd", "out", "/dev/mqueue:", "/dev/shm:", "a", "tmpfs", "/dev/pts/0"]


def test_no_device_can_be_made(box: Box) -> None:
    script = """
    mkdir -p /tmp
    for path in /dev/y /dev/shm/y /tmp/y /y; do mknod $path c 1 5 2>/dev/null && exit 1; done
    cut -d ' ' -f 5,6 /proc/self/mountinfo
    """
    for root in (Overlay(lower=(box.lower,)), Directory(path=directory(box))):
        options = dict(line.split() for line in box.output(script, root=root).splitlines())
        assert {"nosuid", "nodev", "noexec"} <= set(options["/dev"].split(","))
        assert "nodev" not in options["/dev/zero"].split(",")
        assert {"ro", "nosuid", "nodev"} <= set(options["/usr"].split(","))


def test_devices_that_are_there_cannot_be_opened(box: Box) -> None:
    """A node that the host's root made in what the container gets: neither in a mount nor in a root."""
    ours, root = box.folder / "ours", directory(box)
    ours.mkdir()
    try:
        for folder in (ours, root, box.lower):
            os.mknod(folder / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only real root can make a device")
    mounts = (*box.spec().mounts, Mount(target="/rw", source=ours), Mount(target="/ro", source=ours, readonly=True))
    script = """
    head -c 1 /dev/zero | wc -c
    for path in /zero /rw/zero /ro/zero; do head -c 1 $path >/dev/null 2>&1 && echo $path; done; true
    """
    for given in (Overlay(lower=(box.lower,)), Directory(path=root)):
        assert box.output(script, root=given, mounts=mounts) == "1\n"


BIND = """
import os, sys
from builder.sandbox_child import kernel
if sys.argv[3] == "old":
    kernel.SYS_MOUNT_SETATTR = -1  # no kernel has it: ENOSYS, as before Linux 5.12
kernel.bind("mount", os.open(sys.argv[1], os.O_PATH), sys.argv[2], flags=kernel.NOSUID | kernel.NODEV | kernel.RDONLY)
with open("/proc/self/mountinfo") as lines:
    for line in lines:
        if line.split()[4].startswith(sys.argv[2]):
            print(line.split()[5])
"""


@pytest.mark.parametrize("age", ["old", "new"])
def test_flags_of_a_mount_reach_what_lies_below(tmp_path: Path, age: str) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("`unshare` is not installed")
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "to").mkdir()
    script = f'mount -t tmpfs none {tmp_path}/from/deep && exec "$@"'
    bind = (sys.executable, "-c", BIND, str(tmp_path / "from"), str(tmp_path / "to"), age)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *bind],
        env={**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    found = done.stdout.splitlines()
    assert len(found) == 2
    assert all({"ro", "nosuid", "nodev"} <= set(line.split(",")) for line in found), found


def test_processes_of_the_host_are_out_of_sight(box: Box) -> None:
    pids = box.output("ls /proc | grep '^[0-9]' | sort -n | head -3; kill -0 1").split()
    assert int(pids[-1]) < 50
    assert str(os.getpid()) not in pids


def test_privileges_are_those_of_a_container(box: Box) -> None:
    status = dict(line.split(":\t") for line in box.output("cat /proc/self/status").splitlines() if ":\t" in line)
    expected = DOCKER_CAPABILITIES & ~MKNOD if sandbox.privileged() else DOCKER_CAPABILITIES
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[name], 16) == expected
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    script = """
    for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper /proc/1/mem; do
        (echo x > $path) 2>/dev/null && exit 1
    done
    mount -t tmpfs none /mnt 2>/dev/null && exit 1
    (echo x > /proc/1/exe) 2>/dev/null && exit 1
    cat /proc/1/exe >/dev/null 2>&1 && exit 1
    true
    """
    assert box.output(script) == ""


def test_a_layer_cannot_lead_mount_points_out(box: Box) -> None:
    outside = box.folder / "outside"
    outside.mkdir()
    hostile = box.folder / "hostile"
    hostile.mkdir()
    (hostile / "etc").symlink_to(outside / "e")
    (hostile / "proc").symlink_to(f"../../../../../../../../../../{outside}/p")
    (hostile / "src").symlink_to(outside)
    root = Overlay(lower=(box.lower, hostile))
    mounts = (*box.spec().mounts, Mount(target="/src/deep", source=box.lower))
    assert box.output("cat /etc/hostname; ls /src", root=root, mounts=mounts).split()[0] == "cogsmith"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("readonly", [False, True])
def test_a_directory_as_root(box: Box, readonly: bool) -> None:
    root = directory(box)
    script = "echo 1 > /new 2>/dev/null || echo refused"
    assert box.output(script, root=Directory(path=root, readonly=readonly)) == ("refused\n" if readonly else "")
    assert (root / "new").exists() != readonly
    assert not (root / "etc").exists()


def test_a_hundred_layers_with_long_names(box: Box) -> None:
    layers = []
    for number in range(100):
        layer = box.folder / f"{'long' * 30}{number}"
        layer.mkdir()
        (layer / f"only-{number}").touch()
        (layer / "all").write_text(f"{number}\n")
        layers.append(layer)
    assert len(":".join(map(str, layers))) > 4096  # what mount(2) takes
    text = box.output("cat /all; ls / | grep -c only-", root=Overlay(lower=(box.lower, *layers)))
    assert text.split() == ["99", "100"]


def test_layers_with_awkward_names(box: Box) -> None:
    odd = box.folder / "a,b:c\\ d"
    odd.mkdir()
    (odd / "here").touch()
    assert box.output("ls /here", root=Overlay(lower=(box.lower, odd))) == "/here\n"


def test_network_none_has_a_loopback_of_its_own(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"""
import socket
print(sorted(name for _, name in socket.if_nameindex()) == ["lo"])
own = socket.create_server(("127.0.0.1", 0))
socket.create_connection(own.getsockname()).close()
try: socket.create_connection(("127.0.0.1", {port}))
except OSError as e: print("refused")
else: print("connected")
"""
        (box.lower / "try.py").write_text(script)
        assert box.output("python3 /try.py", network="none").split() == ["True", "refused"]
        assert "connected" in box.output("python3 /try.py", network="host")
