"""Commands that mean harm: nothing outside changes, and no process, mount or file is left."""

from __future__ import annotations

import os
import threading
import time
import uuid
from pathlib import Path

import pytest

from builder.backends import sandboxed
from builder.errors import BackendError, LayerError
from builder.plan import BaseLayer
from builder.store import Store

from .bases import Lines, make, plan_of, tar_of


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
    assert mounts() == before
    assert not [path for path in (store.root / "tmp").iterdir() if path.is_dir()]


def test_daemons_end_with_the_command(store: Store, base: BaseLayer) -> None:
    token = f"9{uuid.uuid4().int % 10**8}"
    step = f"setsid sh -c 'sleep {token} & sleep {token}' >/dev/null 2>&1 & (setsid sleep {token} &); echo > /done"
    (layer,) = make(plan_of(base, step), store=store)
    assert list(tar_of(layer, store=store)) == ["done"]
    deadline = time.monotonic() + 10
    while processes(token) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(token) == []


def test_the_number_of_processes_is_limited(store: Store, base: BaseLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed, "PROCESSES", 40)
    if os.geteuid() == 0 and not any(os.access(path, os.W_OK) for path in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")):
        pytest.skip("no control groups to limit root with")
    bomb = "i=0; while [ $i -lt 120 ]; do sleep 77 & i=$((i+1)); done; echo all of them > /all"
    report = Lines()
    with pytest.raises(BackendError):
        make(plan_of(base, f"{bomb}; test -e /all"), store=store, report=report)
    assert any("fork" in line.lower() for line in report.lines), report.lines
    assert [group for group in groups() if str(os.getpid()) in group] == []
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


def test_much_output(store: Store, base: BaseLayer) -> None:
    class Count(Lines):
        count = 0

        def note(self, text: str) -> None:
            self.count += len(text)

    report = Count()
    make(plan_of(base, "yes | head -c 3000000; head -c 2000000 /dev/zero"), store=store, report=report)
    assert report.count > 1_500_000


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
