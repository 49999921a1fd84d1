"""What `kill -9`, a crowd and a full disk do to a store."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_images import add_image, two_layers
from store_checks import verify

from builder.store import Store

ROOT = Path(__file__).parents[2]


# Processes


WRITER = """
import os, random, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_images import add_image, add_layer, tar_of
from builder.store import Store
store = Store.open(Path({root!r}))
rng = random.Random(int(sys.argv[1]))
print("ready", flush=True)
count = int(sys.argv[2])
while count:
    count -= 1
    n = rng.randrange(40)
    with store.using():
        layer = add_layer(store, tar_of({{f"f{{n}}": bytes([n]) * 200000}}), compression="plain")
        store.record_layer(f"k{{n}}", layer)
        with store.writer() as writer:
            for _ in range(20):
                writer.write(bytes([n]) * 10000)
            writer.commit()
        store.add_file(Path(sys.executable))
        add_image(store, f"image{{n % 5}}", [layer])
        store.remember("k", str(n), "v")
    print("one more", flush=True)
store.close()
"""


def start(root: Path, *, seed: int, count: int) -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(ROOT / "tests"), root=str(root))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(seed), str(count)], env=env, stdout=subprocess.PIPE, text=True
    )


def test_killed_thirty_times(tmp_path: Path) -> None:
    root = tmp_path / "c"
    rng = random.Random(1)
    for round_ in range(30):
        child = start(root, seed=round_, count=-1)
        assert child.stdout is not None
        if round_ % 5:  # some die while they open the store
            for _ in range(rng.randrange(1, 4)):
                child.stdout.readline()
            time.sleep(rng.uniform(0, 0.03))
        else:
            time.sleep(rng.uniform(0, 0.4))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Store.open(root) as store:
            assert list((root / "tmp").iterdir()) == []
            for image in store.images():
                assert store.image(image.name) == image
                assert all(store.has_blob(layer.digest) for layer in image.layers)
            store.put(b"still writable %d" % round_)
    verify(root)
    with Store.open(root) as store:
        assert len(store.images()) >= 2
        store.prune(everything=True)
        assert verify(root) == 0


def test_four_processes_at_once(tmp_path: Path) -> None:
    root = tmp_path / "c"
    children = [start(root, seed=seed, count=25) for seed in range(4)]
    for child in children:
        out, _ = child.communicate(timeout=120)
        assert (child.returncode, out) == (0, "ready\n" + "one more\n" * 25)
    with Store.open(root) as store:
        assert {image.name for image in store.images()} == {f"image{n}:latest" for n in range(5)}
        assert list((root / "tmp").iterdir()) == []
        assert verify(root) == len(list((root / "blobs/sha256").iterdir())) + 1


# Disks


FULL = """
import errno, os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_images import add_image, two_layers
from builder.errors import StoreError
from builder.store import Store
root = Path({root!r}) / "cache"
with Store.open(root) as store:
    image = add_image(store, "before", two_layers(store))
    ballast = store.add_file(Path({root!r}) / "ballast")
    (Path({root!r}) / "ballast").unlink()
    failures = []
    for attempt in range(3):
        try:
            with store.writer() as writer:
                for n in range(10000):
                    writer.write(os.urandom(65536))
                writer.commit()
        except StoreError as problem:
            failures.append(problem)
    assert len(failures) == 3, failures
    for problem in failures:
        assert "no space left on device" in problem.brief, problem
        assert "cache prune" in problem.hint, problem
    filler = Path({root!r}) / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as problem:
                assert problem.errno == errno.ENOSPC
    for work in (
        lambda: store.put(b"x" * 5000),
        lambda: store.set_image("after", image.descriptor),
        lambda: [store.remember("k", str(n), "v" * 1000) for n in range(10000)],
    ):
        try:
            work()
        except StoreError as problem:
            assert problem.hint, problem
        else:
            raise AssertionError(work)
    assert store.image("before") == image
    assert list((root / "tmp").iterdir()) == []
# a store on a full disk opens, and can be pruned
with Store.open(root) as store:
    assert store.image("before") == image
    assert [item.name for item in store.prune() if item.kind == "inputs"] == [ballast]
    store.put(b"x" * 5000)
    store.set_image("after", image.descriptor)
print("survived")
"""


def test_full_disk(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting a small file system needs root and unshare")
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "code.py").write_text(FULL.format(tests=str(ROOT / "tests"), root=str(disk)))
    script = (
        f"mount -t tmpfs -o size=8m tmpfs {disk} && head -c 1000000 /dev/urandom > {disk}/ballast"
        f" && PYTHONPATH={ROOT} {sys.executable} {tmp_path}/code.py"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    if "permission denied" in done.stderr.lower() and "mount" in done.stderr:
        pytest.skip("this machine does not let root mount a tmpfs")
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


READ_ONLY = """
import sys
from pathlib import Path
from builder.errors import StoreError
from builder.store import Store
try:
    Store.open(Path({root!r}))
except StoreError as problem:
    assert problem.hint, problem
    print(problem.brief)
"""


def test_read_only_store(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting read-only needs root and unshare")
    root = tmp_path / "c"
    with Store.open(root) as store:
        add_image(store, "x", two_layers(store))
    script = f"mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec {sys.executable} -c '$CODE'"
    code = READ_ONLY.format(root=str(root)).replace("'", '"')
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script.replace("$CODE", code)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if "permission denied" in done.stderr.lower():
        pytest.skip("this machine does not let root mount")
    assert done.returncode == 0, done.stderr
    assert "could not" in done.stdout, done.stdout + done.stderr
