"""What a command finds inside, and what it cannot do."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_exit_code(box: Box, script: str, code: int, init: bool) -> None:
    if not init and "kill" in script:
        script, code = script.replace("kill", "exec sh -c 'kill") + "; exit 9'", 9  # PID 1 is deaf to itself
    assert sandbox.run(box.spec("sh", "-c", script, init=init)) == code
    assert box.leftovers() == []


def test_the_command_sees_what_was_asked(box: Box) -> None:
    text = box.output(
        "pwd; hostname; echo $A; umask; id -u; cat /proc/1/comm; echo $PPID; cat /etc/hostname; grep -c box /etc/hosts",
        cwd="/made/for/it",
        hostname="box",
        env=(("PATH", "/usr/bin"), ("A", "b c")),
    )
    assert text.splitlines()[:5] == ["/made/for/it", "box", "b c", "0022", "0"]
    assert text.splitlines()[6:] == ["1", "box", "1"]


def test_environment_is_only_what_was_given(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "yes")
    assert "LEAK" not in box.output("env")


def test_standard_input_passes_through(box: Box) -> None:
    data = os.urandom(300_000)
    source, target = box.folder / "in", box.folder / "out"
    source.write_bytes(data)
    with source.open("rb") as stdin, target.open("wb") as stdout:
        assert sandbox.run(box.spec("cat"), stdin=stdin, stdout=stdout) == 0
    assert target.read_bytes() == data


def test_closing_standard_output_is_seen_while_the_command_lives(box: Box) -> None:
    read, write = os.pipe()
    with sandbox.start(box.spec("sh", "-c", "echo x; exec >&- 2>&-; sleep 1000"), stdout=write) as child:
        os.close(write)
        with open(read, "rb") as stream:
            assert stream.read() == b"x\n"  # and not only when it has ended
        assert child.poll() is None


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


def test_two_at_once_do_not_see_each_other(box: Box) -> None:
    barrier = threading.Barrier(2)

    def one(name: str) -> str:
        barrier.wait()
        return box.output(f"echo {name} > /mine; sleep 0.3; cat /mine")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, ["a", "b"])) == ["a\n", "b\n"]
    assert box.leftovers() == []


def test_a_thread_that_ends_does_not_take_its_container_along(box: Box) -> None:
    with ThreadPoolExecutor(1) as pool:  # PR_SET_PDEATHSIG fires when the *thread* ends
        child = pool.submit(sandbox.start, box.spec("sh", "-c", "sleep 0.5; exit 3")).result()
    with child:
        assert child.wait() == 3


def test_signals_reach_the_command(box: Box) -> None:
    for init in (True, False):
        read, write = os.pipe()
        script = "trap 'echo term; exit 4' TERM; trap 'echo int' INT; echo up; while :; do sleep 0.05; done"
        with sandbox.start(box.spec("sh", "-c", script, init=init), stdout=write) as child, open(read, "rb") as lines:
            os.close(write)
            assert lines.readline() == b"up\n"
            child.signal(signal.SIGINT)
            assert lines.readline() == b"int\n"
            child.signal(signal.SIGTERM)
            assert child.wait() == 4
            child.signal(signal.SIGTERM)  # too late: no harm


def test_waiting_has_a_limit_and_kill_has_none(box: Box) -> None:
    with sandbox.start(box.spec("sh", "-c", "trap '' TERM; sleep 1000 & wait; sleep 1000")) as child:
        with pytest.raises(TimeoutError):
            child.wait(timeout=0.2)
        child.signal(signal.SIGKILL)
        assert child.wait() == 137
    assert box.leftovers() == []


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("no-such-program",), "it is not in the image"),
        (("/etc",), "permission denied"),
        (("/script",), "exec format error"),
        (("/lost",), "it is not in the image"),
    ],
)
@pytest.mark.parametrize("init", [True, False])
def test_what_cannot_be_executed(box: Box, argv: tuple[str, ...], text: str, init: bool) -> None:
    for name, content in (("script", "no first line"), ("lost", "#!/no/such/shell\n")):
        (box.lower / name).write_text(content)
        (box.lower / name).chmod(0o755)
    with pytest.raises(SandboxError, match=text):
        sandbox.run(box.spec(*argv, init=init))
    assert box.leftovers() == []


def test_users_of_the_image(box: Box) -> None:
    if not sandbox.privileged() and sandbox.check(scratch=box.scratch, ids="full"):
        pytest.skip("this user has no subordinate ids, or `newuidmap` is not installed")
    (box.lower / "etc").mkdir()
    (box.lower / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nmodel:x:55:66::/:/bin/sh\n")
    (box.lower / "etc" / "group").write_text("root:x:0:\nextra:x:77:other,model\n")
    for user, expected in [
        ("", "0 0 0"),
        ("model", "55 66 66 77"),
        ("model:extra", "55 77 77"),
        ("9:8", "9 8 8"),
        ("55", "55 66 66 77"),
    ]:
        assert box.output("echo $(id -u) $(id -g) $(id -G)", ids="full", user=user).strip() == expected
    with pytest.raises(SandboxError, match="`nobody-here` is not in its /etc/passwd"):
        box.output("true", ids="full", user="nobody-here")


def test_full_ids_can_change_owners(box: Box) -> None:
    if not sandbox.privileged() and sandbox.check(scratch=box.scratch, ids="full"):
        pytest.skip("this user has no subordinate ids, or `newuidmap` is not installed")
    upper, work = box.folder / "upper", box.folder / "work"
    upper.mkdir()
    work.mkdir()
    root = Overlay(lower=(box.lower,), upper=upper, work=work)
    script = "mkdir /d; echo 1 > /d/f; chown -R 42:43 /d; chmod 700 /d; stat -c '%u %g' /d/f"
    assert box.output(script, root=root, ids="full") == "42 43\n"
    if os.geteuid():
        assert (upper / "d").stat().st_uid not in (0, os.geteuid())
        with pytest.raises(PermissionError):
            shutil.rmtree(upper)
    sandbox.remove_tree(upper)
    sandbox.remove_tree(work)
    assert not upper.exists()


def test_one_id_is_enough(box: Box) -> None:
    text = box.output("cat /proc/self/uid_map; touch /x; stat -c %u /x")
    count = int(text.split()[2])
    assert count == 1 or sandbox.privileged()
    assert text.split()[-1] == "0"


def test_an_unwritable_scratch_is_explained(box: Box) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    locked = box.folder / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(SandboxError, match="could not make"):
        sandbox.run(box.spec("true", scratch=locked / "in"))


def test_a_scratch_that_goes_while_it_is_looked_at(box: Box) -> None:
    """As one does whose supervisor removes it: its name is listed, and nothing is there."""
    box.scratch.mkdir(exist_ok=True)
    (box.scratch / "sandbox-gone").symlink_to("nowhere")
    assert sandbox.run(box.spec("true")) == 0


def test_a_scratch_on_an_overlay(box: Box) -> None:
    """As in a container, whose home is an overlay and cannot be an upper directory: a tmpfs takes the writes."""
    script = """
import sys
sys.path.insert(0, "/code")
from pathlib import Path
from builder import sandbox
from builder.sandbox import Mount, Overlay, Spec
mounts = (Mount(target="/usr", source=Path("/usr"), readonly=True),)
argv = ("sh", "-c", "echo 1 > /x; cat /x; stat -fc %T /")
env = (("PATH", "/usr/bin"),)
root = Overlay(lower=(Path("/inner"),))
sys.exit(sandbox.run(Spec(root=root, argv=argv, mounts=mounts, env=env, scratch=Path("/s"))))
"""
    system_links(box.lower / "inner")
    (box.lower / "try.py").write_text(script)
    code = Path(sandbox.__file__).parents[2]
    mounts = (*box.spec().mounts, Mount(target="/code", source=code, readonly=True))
    if subprocess.run(["python3", "-c", "import sys; assert sys.version_info >= (3, 11)"], check=False).returncode:
        pytest.skip("the machine's own `python3` is older than 3.11")
    text = box.folder / "text"
    with text.open("w") as file:
        done = sandbox.run(box.spec("python3", "-B", "/try.py", mounts=mounts), stdout=file, stderr=file)
    assert done == 0, text.read_text()
    assert text.read_text().split() == ["1", "overlayfs"], text.read_text()


def test_check_finds_nothing_here(box: Box) -> None:
    assert sandbox.check(scratch=box.scratch) == []
    assert sandbox.check(scratch=box.scratch, network="none") == []
    with tempfile.TemporaryDirectory() as folder:
        assert sandbox.check(scratch=Path(folder)) == []
        assert [path.name for path in Path(folder).iterdir()] == ["sandbox.lock"]
