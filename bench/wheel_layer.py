"""One wheel to one layer: ours against unzip, tar and gzip -6, on one core, in one run.

    python bench/wheel_layer.py torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl
    python bench/wheel_layer.py torch==2.13.0          # fetched by `pip download`

Ours checks every CRC-32 and gives digest and diff id; the others only make the archive, so the comparison favours them.
The wheel's own sha256 is not part of it: a build checks that when it fetches the wheel (`--verify` adds it).  Both
trees are compared at the end.  Times are of the core (user and system), which other work on the machine disturbs least,
and of the clock.  With `--json`, prints one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.codec import codec_for
from builder.layers.pack import pack
from builder.plan import DEFAULT_EPOCH, Codec

SITE = "opt/venv/lib/python3.11/site-packages/"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", help="a wheel file, or a requirement that `pip download` fetches")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verify", action="store_true", help="let ours check the wheel's sha256 as well")
    parser.add_argument("--rounds", type=int, default=1, help="run each side so often, in turn; the best time counts")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        wheel = have_wheel(options.wheel, work=work)
        wheel.read_bytes()  # both find it in the page cache
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        ours: list[Spent] = []
        others: list[dict[str, Spent]] = []
        for _ in range(options.rounds):
            ours.append(run_ours(wheel, sha256=sha256, verify=options.verify, out=work / "ours.tar.gz"))
            others.append(run_others(wheel, work=work))
        our = min(ours)
        steps = min(others, key=lambda steps: total(steps.values()))
        their = total(steps.values())
        compare(work / "ours.tar.gz", work / "tree")
        result: dict[str, Any] = {
            "wheel": wheel.name,
            "wheel_bytes": wheel.stat().st_size,
            "ours_bytes": (work / "ours.tar.gz").stat().st_size,
            "others_bytes": (work / "tree.tar.gz").stat().st_size,
            "inflates_with": inflater(),
            "ours_s": round(our.cpu, 2),
            "others_s": round(their.cpu, 2),
            "others_steps_s": {step: round(spent.cpu, 2) for step, spent in steps.items()},
            "ratio": round(their.cpu / our.cpu, 1),
            "ours_wall_s": round(our.wall, 2),
            "others_wall_s": round(their.wall, 2),
            "ratio_wall": round(their.wall / our.wall, 1),
        }
    if options.json:
        print(json.dumps(result))
    else:
        sizes = result["ours_bytes"] / 1e6, result["others_bytes"] / 1e6
        print(f"{wheel.name}, {result['wheel_bytes'] / 1e6:.0f} MB, one core; inflated with {result['inflates_with']}")
        print("                        core       clock     layer")
        print(f"  ours               {our.cpu:7.2f} s  {our.wall:7.2f} s  {sizes[0]:5.0f} MB")
        print(f"  unzip, tar, gzip   {their.cpu:7.2f} s  {their.wall:7.2f} s  {sizes[1]:5.0f} MB")
        print(f"  times as fast      {result['ratio']:7.1f}    {result['ratio_wall']:7.1f}      (the trees are equal)")
    return 0


def have_wheel(text: str, *, work: Path) -> Path:
    if text.endswith(".whl"):
        return Path(text)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(work), text]
    subprocess.run(command, check=True)
    return next(work.glob("*.whl"))


class Spent(NamedTuple):
    """Seconds of the core and of the clock."""

    cpu: float
    wall: float


def total(items: Iterable[Spent]) -> Spent:
    spent = list(items)
    return Spent(sum(item.cpu for item in spent), sum(item.wall for item in spent))


def inflater() -> str:
    try:
        return f"isal {importlib.metadata.version('isal')}"
    except importlib.metadata.PackageNotFoundError:
        return "zlib"


def now(who: int) -> Spent:
    usage = resource.getrusage(who)
    return Spent(usage.ru_utime + usage.ru_stime, time.perf_counter())


def since(start: Spent, who: int) -> Spent:
    end = now(who)
    return Spent(end.cpu - start.cpu, end.wall - start.wall)


def run_ours(wheel: Path, *, sha256: str, verify: bool, out: Path) -> Spent:
    name, version = wheel.name.split("-")[:2]
    spec = {
        "kind": "wheels",
        "prefix": "/opt/venv",
        "python": "3.11",
        "epoch": DEFAULT_EPOCH,
        "wheels": [{"name": name, "version": version, "filename": wheel.name, "sha256": sha256}],
    }
    codec = codec_for(Codec(), "gzip")
    verified = () if verify else (sha256,)
    start = now(resource.RUSAGE_SELF)
    with out.open("wb") as file:
        pack(spec, inputs={sha256: wheel}, out=file, codec=codec, compression="gzip", verified=verified)
    return since(start, resource.RUSAGE_SELF)


def run_others(wheel: Path, *, work: Path) -> dict[str, Spent]:
    tree, archive = work / "tree", work / "tree.tar"
    shutil.rmtree(tree, ignore_errors=True)
    steps = {
        "unzip": ["unzip", "-q", str(wheel), "-d", str(tree)],
        "tar": [
            "tar",
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "-cf",
            str(archive),
            "-C",
            str(tree),
            ".",
        ],
        "gzip": ["gzip", "-6", "-n", "-f", str(archive)],
    }
    spent = {}
    for step, command in steps.items():
        start = now(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True)
        spent[step] = since(start, resource.RUSAGE_CHILDREN)
    return spent


def compare(layer: Path, tree: Path) -> None:
    """Exit unless the layer's site-packages holds what unzip made, but for RECORD and INSTALLER."""
    expected = {
        path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file()
    }
    found = {}
    with tarfile.open(layer) as tar:
        for member in tar:
            if member.isfile() and member.name.startswith(SITE):
                file = tar.extractfile(member)
                assert file
                found[member.name.removeprefix(SITE)] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    expected = {path: digest for path, digest in expected.items() if not own(path)}
    found = {path: digest for path, digest in found.items() if not own(path)}
    if found != expected:
        wrong = sorted(path for path in {*found, *expected} if found.get(path) != expected.get(path))
        sys.exit(f"the trees differ: {wrong[:10]}")


def own(path: str) -> bool:
    return ".data/" in path or path.endswith((".dist-info/RECORD", ".dist-info/INSTALLER"))


if __name__ == "__main__":
    sys.exit(main())
