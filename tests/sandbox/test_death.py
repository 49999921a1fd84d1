"""However it ends, nothing is left: no process, no mount, no directory."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder import sandbox

from .boxes import Box, processes

PATIENCE = 60.0
PARENT = """
import dataclasses, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from builder import sandbox
from builder.sandbox import Mount, Overlay, Spec
child = sandbox.start(Spec(
    root=Overlay(lower=(Path(sys.argv[2]),)), argv=tuple(sys.argv[4:]), env=(("PATH", "/usr/bin"),),
    mounts=(Mount(target="/usr", source=Path("/usr"), readonly=True),), scratch=Path(sys.argv[3]),
))
print(child.pid, flush=True)
time.sleep(1000)
"""


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true before patience ends."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def mounts() -> list[str]:
    return sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())


def parent(box: Box, *argv: str) -> tuple[subprocess.Popen[str], int]:
    """Another process that starts a container and waits; and the pid of its supervisor."""
    root = Path(sandbox.__file__).parents[2]
    words = [sys.executable, "-c", PARENT, str(root), str(box.lower), str(box.scratch), *argv]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def test_nothing_remains_after_an_ordinary_end(box: Box) -> None:
    before = mounts()
    assert sandbox.run(box.spec("sh", "-c", f"echo {box.token} > /x; mkdir -p /a/b/c; chmod 000 /a /a/b")) == 0
    assert mounts() == before
    assert processes(box.token) == []
    assert box.leftovers() == []


def test_daemons_do_not_outlive_the_command(box: Box) -> None:
    script = f"setsid sh -c 'trap \"\" TERM HUP; sleep 1000; echo {box.token}' </dev/null >/dev/null 2>&1 & echo up"
    for init in (True, False):
        assert sandbox.run(box.spec("sh", "-c", script, init=init), stdout=subprocess.DEVNULL) == 0
        assert processes(box.token) == []
        assert box.leftovers() == []


def test_orphans_are_reaped(box: Box) -> None:
    script = (
        "for i in 1 2 3; do (sh -c 'exit 1' & ) ; done; sleep 0.3; grep -l 'State:.Z' /proc/[0-9]*/status || echo none"
    )
    assert box.output(script) == "none\n"


@pytest.mark.parametrize("init", [True, False])
def test_closing_kills(box: Box, init: bool) -> None:
    with sandbox.start(box.spec("sh", "-c", f"trap '' TERM; while :; do sleep 1; done; echo {box.token}", init=init)):
        assert processes(box.token)
    assert processes(box.token) == []
    assert box.leftovers() == []


def test_kill_9_of_the_parent(box: Box) -> None:
    process, _ = parent(box, "sh", "-c", f"mkdir /d; chmod 0 /d; sleep 1000; echo {box.token}")
    assert len(processes(box.token)) >= 2  # the parent's own command line and the container's
    assert box.leftovers()
    process.kill()
    process.wait()
    assert eventually(lambda: processes(box.token) == [])
    assert eventually(lambda: box.leftovers() == [])


def test_kill_9_of_the_supervisor(box: Box) -> None:
    process, supervisor = parent(box, "sh", "-c", f"sleep 1000; echo {box.token}")
    try:
        os.kill(supervisor, signal.SIGKILL)
        assert eventually(lambda: len(processes(box.token)) == 1)  # the waiting parent alone
        remains = box.leftovers()
        assert len(remains) == 1
        with sandbox.start(box.spec("sleep", "1000")):  # the next one sweeps
            assert len(box.leftovers()) == 1
            assert box.leftovers() != remains
    finally:
        process.kill()
        process.wait()
    assert box.leftovers() == []


def test_running_containers_are_not_swept(box: Box) -> None:
    with sandbox.start(
        box.spec("sh", "-c", "echo 1 > /x; sleep 0.5; cat /x; exit 6"), stdout=subprocess.DEVNULL
    ) as child:
        for _ in range(3):
            assert sandbox.run(box.spec("true")) == 0
        assert child.wait() == 6


def test_a_failed_start_leaves_nothing(box: Box) -> None:
    spec = box.spec("true", root=sandbox.Overlay(lower=(box.folder / "absent",)))
    with pytest.raises(sandbox_error(), match="could not mount the image's layers"):
        sandbox.run(spec)
    assert box.leftovers() == []
    assert processes(str(box.scratch)) == []


def sandbox_error() -> type[Exception]:
    from builder.errors import SandboxError

    return SandboxError


def test_remove_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").touch()
    (tree / "a" / "link").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    (tree / "a" / "b").chmod(0)
    (tree / "a").chmod(0o500)
    sandbox.remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()
    sandbox.remove_tree(tree)  # absent is fine
    sandbox.remove_tree(outside / "kept")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["d" * 200, "d"])
def test_remove_a_tree_deeper_than_any_path(tmp_path: Path, name: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "beside").write_text("")
    here = os.open(top, os.O_RDONLY)
    for number in range(1500):
        os.mkdir(name, 0o700, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        if number % 100 == 7:
            os.fchmod(here, 0)
        os.close(here)
        here = below
    os.close(here)
    sandbox.remove_tree(top)
    assert list(tmp_path.iterdir()) == []


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What the terminal shows, up to and with `wanted`."""
    seen = b""
    end = time.monotonic() + PATIENCE
    while wanted not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                break
    assert wanted in seen, seen
    return seen


def test_an_interactive_shell_with_job_control(box: Box) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    child, terminal = pty.fork()
    if child == 0:
        code = 99
        try:
            environment = (("PATH", "/usr/bin"), ("PS1", "> "), ("TERM", "dumb"))
            code = sandbox.run(box.spec("bash", "--norc", "-i", env=environment, tty=True))
        finally:
            os.write(1, f"ended {code}\n".encode())
            os._exit(0)
    try:
        seen = read_until(terminal, b"> ")
        assert b"no job control" not in seen
        os.write(terminal, b"tty; sh -c 'echo $((40+2)); exec sleep 1000'\n")
        assert b"/dev/console" in read_until(terminal, b"42")
        os.write(terminal, b"\x03")  # for the sleep, not for us
        os.write(terminal, b"sh -c 'echo $((80+4)); exec sleep 1000'\n")
        read_until(terminal, b"84")
        os.write(terminal, b"\x1a")
        read_until(terminal, b"Stopped")
        os.write(terminal, b"kill %1; exit 5\n")
        os.write(terminal, b"exit 5\n")
        read_until(terminal, b"ended 5")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    assert eventually(lambda: box.leftovers() == [])


def test_an_interrupt_is_for_the_command(box: Box) -> None:
    """Ctrl-C reaches the command once, and this process lives to tell what it made of it."""
    child, terminal = pty.fork()
    if child == 0:
        code = 99
        try:
            script = (
                "n=0; trap 'n=$((n+1)); echo got $n' INT; echo up; while :; do sleep 0.1; [ $n = 2 ] && exit 3; done"
            )
            code = sandbox.run(box.spec("sh", "-c", script, tty=True))
        finally:
            os.write(1, f"ended {code}\n".encode())
            os._exit(0)
    try:
        read_until(terminal, b"up")
        os.write(terminal, b"\x03")
        assert b"got 2" not in read_until(terminal, b"got 1")
        os.write(terminal, b"\x03")
        read_until(terminal, b"ended 3")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
