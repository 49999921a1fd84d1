"""Commands that mean harm: nothing outside changes, and no process, mount or file is left."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from builder.backends import Execution, sandboxed
from builder.errors import BackendError, LayerError, SandboxError
from builder.plan import BaseLayer
from builder.store import Store

from .bases import Lines, Step, content, make, plan_of, put_base, tar_of

MACHINE = (2, 9, 11, 12, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26, 28, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40)
"""Capabilities that are about the machine: all but those that a container of Docker's has."""


def processes(token: str) -> list[str]:
    """Command lines that hold `token`, of whichever process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if token in text and int(path.parent.name) != os.getpid():
            found.append(text)
    return found


def mounts() -> list[str]:
    return sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())


def groups() -> list[str]:
    return sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/cogsmith-*"))


@pytest.fixture(autouse=True)
def nothing_is_left(store: Store) -> object:
    before = mounts()
    yield
    # Other tests and programs mount things of their own at the same time, in folders of theirs.
    elsewhere = (tempfile.gettempdir(), "/run/", "/var/lib/", "/home/", str(Path.home()))
    assert not [m for m in mounts() if m not in before and (str(store.root) in m or not m.startswith(elsewhere))]
    assert not [path for path in (store.root / "tmp").iterdir() if path.is_dir()]


def test_daemons_end_with_the_command(store: Store, base: BaseLayer) -> None:
    token = f"9{uuid.uuid4().int % 10**8}"
    step = f"setsid sh -c 'sleep {token} & sleep {token}' >/dev/null 2>&1 & (setsid sleep {token} &); echo > /done"
    (layer,) = make(plan_of(base, step), store=store)
    assert list(tar_of(layer, store=store)) == ["done"]
    deadline = time.monotonic() + 60
    while processes(token) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(token) == []


def test_the_number_of_processes_is_limited(store: Store, base: BaseLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed, "PROCESSES", 40)
    if os.geteuid() == 0 and not any(os.access(path, os.W_OK) for path in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")):
        pytest.skip("no control groups to limit root with")
    bomb = "cat /proc/self/cgroup; i=0; while [ $i -lt 120 ]; do sleep 77 & i=$((i+1)); done; echo all of them > /all"
    report = Lines()
    with pytest.raises(BackendError):
        make(plan_of(base, f"{bomb}; test -e /all"), store=store, report=report)
    assert any("fork" in line.lower() for line in report.lines), report.lines
    group = re.search(r"cogsmith-\d+", "\n".join(report.lines))
    assert group or os.geteuid() != 0
    assert [path for path in groups() if group and path.endswith(group[0])] == []
    make(plan_of(base, "i=0; while [ $i -lt 10 ]; do sleep 0 & i=$((i+1)); done; wait"), store=store)


def test_it_does_not_get_out(store: Store, base: BaseLayer, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.write_text("untouched")
    witness.chmod(0o666)
    ways = [
        f"echo x > {witness}",
        f"echo x > /proc/1/root{witness}",
        f"echo x > /proc/self/cwd/../../../../../../..{witness}",
        f"ln -s {witness} /link && echo x > /link",
        f"ln {witness} /hard && echo x > /hard",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo x > /proc/sys/kernel/hostname",
        "echo c > /proc/sysrq-trigger",
        "echo x > /sys/kernel/profiling",
        "mknod /disk b 8 0",
        "mknod /mem c 1 1",
        "mknod /white c 0 0",
        "mount -t tmpfs none /srv",
        "dd if=/dev/zero of=/dev/sda bs=1 count=1",
    ]
    script = "; ".join(f"( {way} ) 2>/dev/null && echo '{number}' >> /worked" for number, way in enumerate(ways))
    (layer,) = make(plan_of(base, f"cd /; {script}; true"), store=store)
    assert witness.read_text() == "untouched"
    members = tar_of(layer, store=store)
    assert not {"disk", "mem", "white"} & members.keys()
    assert not any(member.ischr() or member.isblk() for member in members.values())


def test_the_layers_below_stay_as_they_are(store: Store, base: BaseLayer) -> None:
    make(plan_of(base, "rm -rf /srv /etc; chmod -R 777 /root; echo x > /usr/bin/cat; ls / > /left"), store=store)
    report = Lines()
    make(plan_of(base, "cat /etc/motd; stat -c %a /root"), store=store, report=report)
    assert report.lines[-3:-1] == ["run 1/1 | welcome", "run 1/1 | 700"]


class Count(Lines):
    """Counts what it is told, and keeps nothing."""

    count = 0

    def note(self, text: str) -> None:
        self.count += len(text)


def memory(name: str) -> int:
    """`VmRSS` or `VmHWM` (the most there was) of this process, in kB."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0])


def test_much_output(store: Store, base: BaseLayer) -> None:
    """A scaled 10 GB: short lines, and one line without end, of text and of what no terminal should see."""
    make(plan_of(base, "echo first"), store=store)
    Path("/proc/self/clear_refs").write_text("5")  # forget the most there was
    before = memory("VmRSS")
    report = Count()
    flood = "yes | head -c 500000; head -c 60000000 /dev/zero | tr '\\000' x; head -c 60000000 /dev/zero"
    make(plan_of(base, flood), store=store, report=report)
    assert report.count > 60_250_000
    assert memory("VmHWM") - before < 30_000


def test_the_step_is_in_name_spaces_of_its_own_without_a_machines_capabilities(store: Store, base: BaseLayer) -> None:
    report = Lines()
    step = "ls -l /proc/self/ns; cat /proc/self/status; ls /proc/self/fd"
    make(plan_of(base, step), store=store, report=report)
    text = "\n".join(line.partition(" | ")[2] for line in report.lines)
    inside = set(re.findall(r"(mnt|pid|ipc|uts|user):\[(\d+)\]", text))
    ours = {(name, os.readlink(f"/proc/self/ns/{name}")[len(name) + 2 : -1]) for name in ("mnt", "pid", "ipc", "uts")}
    assert len(inside) >= 4
    assert not inside & ours
    for name in ("CapEff", "CapPrm", "CapBnd"):
        mask = int(text.partition(f"{name}:\t")[2].split()[0], 16)
        assert not [bit for bit in MACHINE if mask >> bit & 1], name
    descriptors = [line for line in text.splitlines() if line.isdigit()]
    assert descriptors == ["0", "1", "2", "3"]  # the last is of listing them
    left = set()
    for path in Path("/proc").glob("[0-9]*/ns/*"):
        with contextlib.suppress(OSError):
            # A number that is free again may at once be that of another test's name space.
            if str(store.root) in (path.parents[1] / "mountinfo").read_text():
                left.add((path.name, os.readlink(path).partition("[")[2].rstrip("]")))
    assert not inside & left  # nobody holds them any more


@pytest.mark.parametrize("more", ["opt", "proc", "dev", "run/secrets"])
def test_a_base_whose_links_lead_out(store: Store, tar: bytes, tmp_path: Path, more: str) -> None:
    """Where files and secrets are mounted, where the command writes, and where what it left is looked up.

    With `/proc`, the others lead into it, where no mount point can be made: refused.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "token").write_text("of this machine")
    out = "../" * 30 + str(outside).lstrip("/")
    stream = io.BytesIO(tar)
    with tarfile.open(fileobj=stream, mode="a") as archive:
        for name, target in (
            *(("etc/resolv.conf", str(outside / "made")), ("etc/hosts", f"{out}/made")),
            *(("srv/way", str(outside)), ("sys", "/root"), (more, out)),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    before = {path: path.read_text() for path in outside.iterdir()}
    written = "rm /srv/way; mkdir /srv/way; echo of this machine | tr -d '\\n' > /srv/way/token"
    step = Step(f"cat /run/secrets/token /etc/hosts > /dev/null; {written}", secrets={"token": "/run/secrets/token"})
    execution = Execution(secrets={"token": b"hidden"})
    plan = plan_of(put_base(store, stream.getvalue()), step)
    layers = []
    with pytest.raises(SandboxError) if more == "proc" else contextlib.nullcontext():
        layers = make(plan, store=store, execution=execution)
    assert {path: path.read_text() for path in outside.iterdir()} == before
    for layer in layers:
        assert content(layer, "srv/way/token", store=store) == b"of this machine"  # new, whatever the link led to


def test_a_tree_deeper_than_any_path_is_refused_and_removed(store: Store, base: BaseLayer) -> None:
    deep = "mkdir /deep; cd /deep; i=0; while [ $i -lt 60 ]; do mkdir $(printf %0100d 1); cd 0*; i=$((i+1)); done"
    with pytest.raises(LayerError, match="could not read what a command left"):
        make(plan_of(base, deep), store=store)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("touch /.wh.etc", "starts with `.wh.`"),
        ("touch \"$(printf '\\377')\"", "not UTF-8"),
        ("chown 65536 /etc/motd", "65535 is the largest"),
    ],
)
def test_what_no_layer_can_hold_is_refused(store: Store, base: BaseLayer, step: str, message: str) -> None:
    with pytest.raises((LayerError, BackendError)) as caught:
        make(plan_of(base, step), store=store)
    if os.geteuid() == 0 or "65536" not in step:  # an ordinary user may lack that id
        assert message in str(caught.value)


def test_deep_and_closed_trees_can_be_removed(store: Store, base: BaseLayer) -> None:
    deep = "d=/deep; mkdir $d; cd $d; i=0; while [ $i -lt 40 ]; do mkdir $(printf %0100d 1); cd 0*; i=$((i+1)); done"
    step = f"{deep}; cd /; mkdir -p /closed/in; chmod 0 /closed/in /closed; chown 77 /closed; rm -rf /deep"
    (layer,) = make(plan_of(base, step), store=store)
    assert list(tar_of(layer, store=store)) == ["closed", "closed/in"]


def test_interrupted(store: Store, base: BaseLayer) -> None:
    """What happens to a build that is stopped while a command runs, as `KeyboardInterrupt` does it."""
    token = f"8{uuid.uuid4().int % 10**8}"

    class Stop(Lines):
        def note(self, text: str) -> None:
            if text.endswith("| now"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(plan_of(base, f"echo now; sleep {token}"), store=store, report=Stop())
    assert processes(token) == []
    assert threading.active_count() < 20
