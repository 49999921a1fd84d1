"""A command in a sandbox: how it ends, its streams, signals and users, and what is said where it cannot run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder import sandbox
from builder.errors import SandboxError
from builder.sandbox import Mount, Overlay

from .boxes import Box, system_links


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
