"""System packages: installed by Cogsmith beside `buildah bud` of the same files; used; and the same twice, by anybody.

    python bench/packages.py [--suite bookworm] [--rounds 3] [--packages ffmpeg libgl1 git]
    python bench/packages.py --use [--suite trixie]      # what Cog models name, all together, each used by a program
    python bench/packages.py --same [--suite bookworm]   # made twice: equal digests, or the members that differ

The packages are downloaded before anything is timed; both sides install them over the same base, which both have, with
nothing from a cache.  Buildah's `RUN` is `apt-get install` of the very files, from a folder.  The bar: ours takes no
longer than Buildah's, until the layer is in the store.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder import sandbox
from builder.backends import Execution, embedded
from builder.backends.apt import deb_name
from builder.backends.asked import UnpackedImage
from builder.cli.settings import debian_mirrors, read
from builder.compile import base_plan
from builder.engine.unpack import unpack_all
from builder.fetch import ensure
from builder.oci import PackedLayer
from builder.plan import DEFAULT_EPOCH, PackagesLayer, Plan, chain_link
from builder.report import Quiet
from builder.resolve.apt import choose
from builder.resolve.apt.archives import own_archives
from builder.resolve.debian import resolve_debian
from builder.store import Store

SMALL = ("ffmpeg", "libgl1", "git")
USED_TIMES = ("user", "system", "children_user", "children_system")
USED = {
    "ffmpeg": "ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x64 -y /tmp/a.mp4 && ffprobe -v error /tmp/a.mp4",
    "libgl1": "python3 -c 'import ctypes; ctypes.CDLL(\"libGL.so.1\").glXGetClientString'",
    "libglib2.0-0": "python3 -c 'import ctypes; print(ctypes.CDLL(\"libglib-2.0.so.0\").g_get_num_processors())'",
    "git": "cd /tmp && git init -q && git -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m x",
    "libsm6": "python3 -c 'import ctypes; ctypes.CDLL(\"libSM.so.6\").SmcOpenConnection'",
    "libxext6": "python3 -c 'import ctypes; ctypes.CDLL(\"libXext.so.6\").XShmQueryExtension'",
    "libxrender1": "python3 -c 'import ctypes; ctypes.CDLL(\"libXrender.so.1\").XRenderQueryExtension'",
    "libsndfile1": 'python3 -c \'import ctypes as c; f=c.CDLL("libsndfile.so.1").sf_version_string; '
    "f.restype=c.c_char_p; print(f().decode())'",
    "sox": "sox -n -r 8000 /tmp/a.wav synth 0.1 sine 440 && soxi -D /tmp/a.wav",
    "libmagic1": 'python3 -c \'import ctypes as c; m=c.CDLL("libmagic.so.1"); m.magic_open.restype=c.c_void_p; '
    "m.magic_file.restype=c.c_char_p; h=c.c_void_p(m.magic_open(16)); assert m.magic_load(h, None) == 0; "
    'print(m.magic_file(h, b"/bin/ls").decode())\'',
    "wget": "wget --version | head -1",
    "build-essential": "printf '#include <iostream>\\nint main() { std::cout << 42 << std::endl; }' > /tmp/a.cc && "
    "g++ -O2 -o /tmp/a /tmp/a.cc && test $(/tmp/a) = 42 && make --version | head -1",
}
"""What Cog models name in `build.system_packages`, and a program that uses each."""


def plan_of(wanted: Sequence[str], *, suite: str, store: Store) -> Plan:
    """The base and the packages over it, resolved as `cogsmith lock` does."""
    settings = read()
    mirrors, now = debian_mirrors(settings), dt.datetime.now(dt.UTC)
    report = Quiet()
    base, _, remotes = resolve_debian(
        suite=suite, architecture="amd64", mirrors=mirrors, store=store, report=report, now=now
    )
    plan = base_plan(base, platform="linux/amd64", remotes=remotes, epoch=DEFAULT_EPOCH)
    archives = own_archives(base, mirrors=mirrors, store=store, report=report, now=now)
    image = UnpackedImage(made(plan, store=store), store=store, report=report)
    debs, more = choose(wanted, base=base, image=lambda: image, archives=archives, keep={}, store=store, report=report)
    layer = PackagesLayer(
        requested=tuple(sorted(wanted)),
        debs=debs,
        below=tuple(chain_link(below) for below in plan.layers),
        epoch=DEFAULT_EPOCH,
    )
    ensure(more, store=store, report=report)
    return dataclasses.replace(plan, layers=(*plan.layers, layer), remotes=(*remotes, *more))


def made(plan: Plan, *, store: Store) -> Sequence[PackedLayer]:
    """The layers of `plan`, the executed ones made again."""
    return embedded.make(
        plan,
        store=store,
        local={},
        fetch=lambda remotes: ensure(remotes, store=store, report=Quiet()),
        threads=min(8, len(os.sched_getaffinity(0))),
        report=Quiet(),
        execution=Execution(fresh=True),
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that something takes, and of how much of the processors; the latter counts on a busy machine."""
    begin, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    used = sum(getattr(after, name) - getattr(before, name) for name in USED_TIMES)
    return time.perf_counter() - begin, used


def buildah_base(plan: Plan, *, store: Store, work: Path) -> None:
    """The base as an image of Buildah's, made of the unpacked layer."""
    folder = unpack_all(made(dataclasses.replace(plan, layers=plan.layers[:-1]), store=store), store=store,
                        report=Quiet(), full=True)[0]  # fmt: skip
    (work / "debs").mkdir()
    layer = plan.layers[-1]
    assert isinstance(layer, PackagesLayer)
    for deb in layer.debs:
        shutil.copyfile(store.file_path(deb.sha256), work / "debs" / deb_name(deb))
    (work / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (work / "policy-rc.d").chmod(0o755)
    tar = subprocess.Popen(["tar", "-C", folder, "-cf", work / "base.tar", "."])
    assert tar.wait() == 0
    (work / "Containerfile.base").write_text("FROM scratch\nADD base.tar /\nADD policy-rc.d /usr/sbin/\n")
    subprocess.run(
        ["buildah", "bud", "-q", "-t", "cogsmith-bench-base", "-f", work / "Containerfile.base", work],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    (work / "base.tar").unlink()


def buildah(work: Path) -> None:
    """`buildah bud`, until the image with the layer is in its storage."""
    (work / "Containerfile").write_text(
        "FROM cogsmith-bench-base\nENV DEBIAN_FRONTEND=noninteractive\n"
        "RUN apt-get -qqy -o APT::Sandbox::User=root --no-install-recommends install /debs/*.deb "
        "&& rm -rf /var/lib/apt/lists/*\n"
    )
    subprocess.run(
        ["buildah", "bud", "-q", "--no-cache", "--isolation", "chroot", "--pull-never",
         "-v", f"{work / 'debs'}:/debs:ro",
         "-t", "cogsmith-bench", "-f", work / "Containerfile", work],
        check=True, stdout=subprocess.DEVNULL, stderr=(work / "log").open("w"),
    )  # fmt: skip


def compare(plan: Plan, *, store: Store, rounds: int) -> None:
    """Print the times of both, in turns."""
    layer = plan.layers[-1]
    assert isinstance(layer, PackagesLayer)
    print(f"{len(layer.debs)} packages, {sum(deb.size for deb in layer.debs) / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory(prefix="cogsmith-bench-") as name:
        work = Path(name)
        if shutil.which("buildah") is None:
            print("no buildah here")
        else:
            buildah_base(plan, store=store, work=work)
        mine, theirs = [], []
        for number in range(rounds):
            mine.append(timed(lambda: made(plan, store=store)))
            print(f"round {number + 1}: cogsmith {mine[-1][0]:6.1f} s ({mine[-1][1]:.1f} s of processors)", flush=True)
            if shutil.which("buildah"):
                theirs.append(timed(lambda: buildah(work)))
                print(f"         buildah  {theirs[-1][0]:6.1f} s ({theirs[-1][1]:.1f} s of processors)", flush=True)
    if theirs:
        ratios = [statistics.median(m[i] for m in mine) / statistics.median(t[i] for t in theirs) for i in (0, 1)]
        print(f"ratio of the medians: {ratios[0]:.2f} (the bar: at most 1); of processors {ratios[1]:.2f}")
        subprocess.run(
            ["buildah", "rmi", "-f", "cogsmith-bench", "cogsmith-bench-base"], check=False, capture_output=True
        )


def use(plan: Plan, *, store: Store) -> bool:
    """Run a program for each package that was asked for; print what it says."""
    layers = made(plan, store=store)
    folders = unpack_all(layers, store=store, report=Quiet(), full=True)
    failed = []
    with tempfile.TemporaryDirectory(prefix="cogsmith-bench-") as scratch:
        for name, command in USED.items():
            spec = sandbox.Spec(
                root=sandbox.Overlay(lower=tuple(folders)),
                argv=("/bin/sh", "-c", command),
                scratch=Path(scratch),
                env=(("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/root"), ("LC_ALL", "C.UTF-8")),
                network="none",
            )
            with tempfile.TemporaryFile() as out:
                code = sandbox.run(spec, stdin=sandbox.DEVNULL, stdout=out, stderr=out)
                out.seek(0)
                said = out.read().decode(errors="replace").strip()
            print(f"{'ok    ' if code == 0 else 'FAILED'} {name}: {(said.splitlines() or [''])[-1]}", flush=True)
            if code:
                failed.append(name)
    return not failed


def same(plan: Plan, *, store: Store) -> bool:
    """Make the layer twice; print what differs."""
    found = [made(plan, store=store)[-1] for _ in range(2)]
    print(*(layer.digest for layer in found))
    one, other = (members(layer, store=store) for layer in found)
    for path in sorted(one.keys() | other.keys()):
        if one.get(path) != other.get(path):
            print(f"differs: {path} {one.get(path)} {other.get(path)}")
    return found[0] == found[1]


def members(layer: PackedLayer, *, store: Store) -> dict[str, str]:
    """What a layer holds, by path."""
    found = {}
    with tarfile.open(store.blob_path(layer.digest)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
            found[member.name] = json.dumps([member.mode, member.uid, member.gid, member.mtime, content])
    return found


def main() -> None:
    """Do what the arguments ask for, in a store of its own in the cache (`XDG_CACHE_HOME`)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", default="bookworm", choices=["bookworm", "trixie"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packages", nargs="+", default=SMALL)
    parser.add_argument("--use", action="store_true")
    parser.add_argument("--same", action="store_true")
    given = parser.parse_args()
    wanted = tuple(USED) if given.use or given.same else tuple(given.packages)
    with Store.open(read().store_root) as store:
        plan = plan_of(wanted, suite=given.suite, store=store)
        if given.use and not use(plan, store=store):
            sys.exit(1)
        if given.same and not same(plan, store=store):
            sys.exit(1)
        if not given.use and not given.same:
            compare(plan, store=store, rounds=given.rounds)


if __name__ == "__main__":
    main()
