"""Buildah as a backend where things go wrong: as with our own sandbox, and nothing of Buildah's is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from executed.bases import Lines, base_tar, content, plan_of, put_base
from executed.test_debug_shell import told_at_a_terminal
from executed.test_hostile import mounts, processes

from builder import sandbox
from builder.backends import Execution, assemble, backend, buildah
from builder.backends.buildah_steps import Buildah
from builder.errors import BackendError, LayerError
from builder.plan import BaseLayer, Plan
from builder.report import Quiet, Report
from builder.store import Store


@pytest.fixture(scope="session")
def small_tar() -> bytes:
    """The layer of a base without a compiler."""
    return base_tar()


@pytest.fixture
def base(store: Store, small_tar: bytes) -> BaseLayer:
    """The base, in a store where Buildah can work; skips, aloud, elsewhere."""
    made = put_base(store, small_tar)
    missing = Buildah().check(plan_of(made, "true"), scratch=store.root / "tmp")
    if missing:
        pytest.skip(missing[0])
    return made


def make(plan: Plan, store: Store, *, report: Report | None = None, **given: Any) -> Any:
    return buildah.make(
        plan,
        store=store,
        local={},
        fetch=lambda _: {},
        threads=2,
        report=report or Quiet(),
        execution=Execution(**given),
    )


def left(store: Store) -> list[str]:
    """Mounts of this machine below the store; of others we know nothing."""
    return [path for path in mounts() if path.startswith(str(store.root))]


def containers(store: Store) -> list[str]:
    found = list(store.root.glob("unpacked/buildah*/*/*-containers/containers.json"))
    return [name for path in found for item in json.loads(path.read_text()) for name in item["names"]]


def test_a_failing_command(store: Store, base: BaseLayer) -> None:
    report = Lines()
    with pytest.raises(BackendError) as caught:
        make(plan_of(base, "echo one; echo two >&2; exit 96"), store, report=report)
    assert caught.value.brief == "a command of `build.run` failed: `echo one; echo two >&2; exit 96`"
    assert caught.value.details == (
        "one\ntwo\nended with exit code 96\ncommand: /bin/sh -c 'echo one; echo two >&2; exit 96'"
    )
    assert "--debug-shell" in str(caught.value.hint)
    assert [line for line in report.lines if "| " in line] == ["run 1/1 | one", "run 1/1 | two"]
    assert containers(store) == []
    assert not [path for path in (store.root / "tmp").iterdir() if path.is_dir()]


def test_interrupted(store: Store, base: BaseLayer) -> None:
    token = f"8{uuid.uuid4().int % 10**8}"

    class Stop(Lines):
        def note(self, text: str) -> None:
            if text.endswith("| now"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(plan_of(base, f"(setsid sleep {token} &); echo now; sleep {token}"), store, report=Stop())
    assert processes(token) == []
    assert left(store) == []
    layer = make(plan_of(base, "echo > /next"), store)[1]
    assert content(layer, "next", store=store) == b"\n"
    assert containers(store) == []  # the next one removed what the interrupted one had


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from builder.backends import Execution, buildah
from builder.report import Quiet
from builder.store import Store
from executed.bases import plan_of, put_base
with Store.open(Path({store!r})) as store:
    plan = plan_of(put_base(store, Path({tar!r}).read_bytes()), {step!r})
    given = dict(store=store, local={{}}, fetch=lambda _: {{}}, threads=2, report=Quiet())
    buildah.make(plan, **given, execution=Execution(settings={{"isolation": "chroot"}}))
"""


def test_a_killed_build_leaves_nothing_that_runs(
    store: Store, base: BaseLayer, small_tar: bytes, tmp_path: Path
) -> None:
    """With the isolation that has no namespace for processes of its own."""
    token = f"7{uuid.uuid4().int % 10**8}"
    (tmp_path / "tar").write_bytes(small_tar)
    words = {
        "paths": [path or os.getcwd() for path in sys.path],
        "store": str(store.root),
        "tar": str(tmp_path / "tar"),
    }
    program = PROGRAM.format(**words, step=f"(setsid sleep {token} &); sleep {token}")
    build = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 120
    while len(processes(f"sleep\0{token}")) < 2:
        assert build.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    build.send_signal(signal.SIGKILL)
    build.wait()
    while processes(token) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(token) == []
    assert left(store) == []
    assert len(containers(store)) == 1
    make(plan_of(base, "true"), store, settings={"isolation": "chroot"})
    assert containers(store) == []


SHELL = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from builder.backends import Execution, buildah
from builder.errors import BackendError, LayerError
from builder.report import Quiet
from builder.store import Store
from executed.bases import plan_of, put_base
with Store.open(Path({store!r})) as store:
    plan = plan_of(put_base(store, Path({tar!r}).read_bytes()), "echo $((40 + 2)) > /state; exit 9")
    given = dict(store=store, local={{}}, fetch=lambda _: {{}}, threads=2, report=Quiet())
    try:
        buildah.make(plan, **given, execution=Execution(debug_shell=True))
    except BackendError as problem:
        print("THEN", problem.details.splitlines()[-2])
"""


def test_a_shell_in_the_state_of_the_failure(store: Store, base: BaseLayer, small_tar: bytes, tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(small_tar)
    paths = [path or os.getcwd() for path in sys.path]
    told = told_at_a_terminal(SHELL.format(paths=paths, store=str(store.root), tar=str(tmp_path / "tar")))
    assert b"\r\n42\r\n" in told, told.decode()
    assert b"pip3" in told
    assert b"THEN ended with exit code 9" in told
    assert containers(store) == []


REACH = """
for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/mm/transparent_hugepage/enabled \\
    /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs; do
    test ! -e $file || (exec 3>>$file) 2>/dev/null && test -e $file && echo "reached $file"
done
for folder in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $folder/evil 2>/dev/null && echo "made $folder/evil"; done
ls /dev > /devices
"""


@pytest.mark.parametrize("isolation", ["oci", "chroot"])
def test_the_kernel_and_its_devices_are_out_of_reach(store: Store, base: BaseLayer, isolation: str) -> None:
    """Of root as well, whose number is the kernel's root's."""
    report = Lines()
    try:
        layer = make(plan_of(base, REACH), store, report=report, settings={"isolation": isolation})[1]
    except BackendError as problem:
        if "cannot run commands here" not in problem.brief:
            raise
        pytest.skip(str(problem))
    assert [line for line in report.lines if line.startswith("run 1/1 |")] == []
    usual = {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx"}
    assert set(content(layer, "devices", store=store).decode().split()) <= usual | {
        "pts",
        "shm",
        "mqueue",
        "console",
        "core",
    }


def test_a_storage_without_overlays(store: Store, base: BaseLayer) -> None:
    """Each layer is then a whole tree, which is compared as a whole."""
    plan = plan_of(base, "rm /srv/kept; mkdir /a; ln /etc/motd /a/b; chmod 600 /srv/data/one")
    made = make(plan, store, settings={"storage_driver": "vfs", "isolation": "chroot"})
    given = {"store": store, "local": {}, "fetch": lambda _: {}, "threads": 2, "report": Quiet()}
    assert backend("embedded").make(plan, **given, execution=Execution(fresh=True)) == made  # type: ignore[arg-type]
    assert any(store.root.glob("unpacked/buildah*/vfs"))


def test_a_file_of_several_names_without_overlays(store: Store, base: BaseLayer) -> None:
    """There a command that writes to one name writes to all: another image than elsewhere, which is refused."""
    both = "echo 1 > /srv/one; ln /srv/one /srv/too"
    replaced = plan_of(base, both, "rm /srv/too; echo new > /srv/too")
    vfs = {"storage_driver": "vfs", "isolation": "chroot"}
    given = {"store": store, "local": {}, "fetch": lambda _: {}, "threads": 2, "report": Quiet()}
    assert backend("embedded").make(replaced, **given, execution=Execution(fresh=True)) == make(  # type: ignore[arg-type]
        replaced, store, settings=vfs, fresh=True
    )
    with pytest.raises(LayerError, match=r"changed `/srv/one`, which is `/srv/too` too"):
        make(plan_of(base, both, "echo more >> /srv/too"), store, settings=vfs)


def test_settings_that_are_none() -> None:
    with pytest.raises(BackendError, match="no isolation `jail`"):
        Buildah(isolation="jail")
    with pytest.raises(BackendError, match="no storage driver `zfs`"):
        Buildah(driver="zfs")


def test_all_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To a user without subordinate ids, on a machine without any of the programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    start = sys.modules["builder.sandbox.start"]
    monkeypatch.setattr(start, "privileged", lambda: False)
    monkeypatch.setattr(start, "_full_by_ourselves", lambda: False)
    monkeypatch.setattr(start, "_names", lambda: {"54321", "nobody-at-all"})
    base = BaseLayer(digest="sha256:" + "0" * 64, diff_id="sha256:" + "0" * 64, size=1, media_type="")
    told = buildah.check(plan_of(base, "true"))
    assert len(told) == 5
    for word in ("apt install buildah", "newuidmap", "newgidmap", "/etc/subuid", "/etc/subgid"):
        assert sum(word in line.split("hint")[0] for line in told) == 1, word
    assert all("install" in line or "usermod --add-subuids" in line for line in told)
    assert len(buildah.check(plan_of(base))) == 1  # no commands: Buildah alone, which is to take the image


def test_the_image_is_delivered_with_its_digest(
    store: Store, base: BaseLayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    conf = tmp_path / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
    for compression in ("gzip", "zstd"):
        plan = plan_of(base, "echo 1 > /a", compression=compression)  # type: ignore[arg-type]
        image = assemble.image(plan, layers=make(plan, store), store=store, name="cog-made")
        report = Lines()
        buildah.deliver(image, store=store, report=report)
        assert report.lines == ["copying cog-made:latest to buildah", "podman run localhost/cog-made:latest"]
        reference = "containers-storage:localhost/cog-made:latest"
        told = subprocess.run(["skopeo", "inspect", reference], capture_output=True, text=True, check=True)
        assert json.loads(told.stdout)["Digest"] == image.digest
        buildah.deliver(image, store=store, report=report)
        assert len(report.lines) == 3  # nothing is copied twice
    plan = plan_of(base, "echo 1 > /a")
    image = assemble.image(plan, layers=make(plan, store), store=store, name="another")
    with pytest.raises(BackendError, match="same content with other layers"):
        buildah.deliver(image, store=store, report=Lines())
    sandbox.remove_tree(tmp_path / "graph")
