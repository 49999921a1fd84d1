"""Wheels to layers: that they hold what an installer puts there, and what that costs.

    python bench/wheels.py same                      # 40 popular packages: our layer against `uv pip install`
    python bench/wheels.py same numpy==2.2.6         # or these
    python bench/wheels.py speed FOLDER|WHEEL...     # wheels to layers against sha256sum and inflating them, two cores

`same` compares the content of every file, whether it is executable, and RECORD row by row, apart from the installer's
own notes (`tests/layers/trees.py`).  `speed` measures in one run, on the same cores: ours checks the sha256 and
the CRC-32 of every file, and makes layers with digest and diff id; the other side reads each wheel with `sha256sum` and
inflates its members with `zlib` (or `isal`, where installed), which checks their CRC-32 as well, and keeps nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "layers")]

from builder.codec import codec_for  # noqa: E402
from builder.layers.pack import pack  # noqa: E402
from builder.layers.reader import Reader  # noqa: E402
from builder.plan import DEFAULT_EPOCH, Codec  # noqa: E402

POPULAR: list[str] = """
    boto3==1.38.23 urllib3==2.4.0 requests==2.32.3 setuptools==80.8.0 certifi==2025.4.26 charset-normalizer==3.4.2
    idna==3.10 typing-extensions==4.13.2 python-dateutil==2.9.0.post0 packaging==25.0 s3transfer==0.13.0 six==1.17.0
    numpy==2.2.6 pyyaml==6.0.2 botocore==1.38.23 cryptography==45.0.3 pydantic==2.11.5 pydantic-core==2.33.2
    jinja2==3.1.6 markupsafe==3.0.2 pip==25.1.1 click==8.2.1 attrs==25.3.0 pandas==2.2.3 scipy==1.15.3 pillow==11.2.1
    protobuf==6.31.0 rich==14.0.0 fastapi==0.115.12 aiohttp==3.12.2 safetensors==0.5.3 tokenizers==0.21.1
    transformers==4.52.3 huggingface-hub==0.32.2 scikit-learn==1.6.1 sympy==1.14.0 networkx==3.4.2 onnxruntime==1.22.0
    opencv-python-headless==4.11.0.86 tqdm==4.67.1
""".split()  # noqa: SIM905


def main() -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["same", "speed"])
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    return same(given.names or POPULAR) if given.what == "same" else speed(given.names)


def same(requirements: list[str]) -> int:
    """Compare each package's layer with what uv installs; how many differ."""
    from test_real_wheels import difference
    from trees import installed_tree, layer_tree

    wrong = 0
    platforms = [word for tag in ("manylinux2014", "manylinux_2_28") for word in ("--platform", f"{tag}_x86_64")]
    for requirement in requirements:
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", name]
            done = subprocess.run(
                [*command, "--python-version", "3.11", *platforms, requirement], capture_output=True, check=False
            )
            if done.returncode:
                print(f"{requirement}: not to be had: {done.stderr.decode().strip().splitlines()[-1]}")
                wrong += 1
                continue
            (wheel,) = work.glob("*.whl")
            layer = work / "layer"
            make(wheel, out=layer, threads=2)
            found = difference(layer_tree(layer.read_bytes()), installed_tree("uv", [wheel], folder=work / "uv"))
            wrong += bool(found)
            print(f"{requirement}: {'the same' if not found else found[:5]}", flush=True)
    print(f"{len(requirements) - wrong} of {len(requirements)} are the same")
    return min(wrong, 1)


def speed(places: list[str]) -> int:
    """Measure both sides on two cores."""
    wheels = [w for p in map(Path, places) for w in ([p] if p.is_file() else sorted(p.rglob("*.whl")))]
    wheels.sort(key=lambda wheel: -wheel.stat().st_size)
    size = sum(wheel.stat().st_size for wheel in wheels)
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
    print(f"{len(wheels)} wheels, {size / 1e9:.2f} GB")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        theirs = timed(lambda: at_once(read, wheels))
        ours = timed(lambda: at_once(lambda wheel: make(wheel, out=Path(name) / "layer", threads=1), wheels))
    for label, (wall, cpu) in (("sha256sum and inflating", theirs), ("wheels to layers", ours)):
        print(f"{label:26}{wall:8.1f} s of the clock {cpu:8.1f} s of the cores")
    print(f"ratio {ours[0] / theirs[0]:.2f} by the clock, {ours[1] / theirs[1]:.2f} by the cores")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return 0


def make(wheel: Path, *, out: Path, threads: int) -> None:
    """Our layer of a wheel, written beside `out` and removed where that is a folder's placeholder."""
    name, version = wheel.name.split("-")[:2]
    sha256 = hashlib.sha256()
    with wheel.open("rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
    item = {"name": name, "version": version, "filename": wheel.name, "size": 0, "sha256": sha256.hexdigest()}
    spec: dict[str, Any] = {"kind": "wheels", "prefix": "/opt/venv", "python": "3.11", "epoch": DEFAULT_EPOCH}
    place = out if out.name == "layer" and threads > 1 else out.with_name(sha256.hexdigest())
    with place.open("wb") as target:
        pack(
            {**spec, "reason": "", "wheels": [item]},
            inputs={sha256.hexdigest(): wheel},
            out=target,
            codec=codec_for(Codec(), "plain"),
            compression="gzip",
            threads=threads,
            verified={sha256.hexdigest()},
        )
    if place != out:
        place.unlink()


def read(wheel: Path) -> None:
    """`sha256sum`, and each member inflated and checked."""
    from builder.layers.archive import read_archive
    from builder.layers.content import Deflated

    subprocess.run(["sha256sum", wheel], check=True, stdout=subprocess.DEVNULL)
    assert zipfile.is_zipfile(wheel)
    with Reader() as reader:
        for entry in read_archive(wheel):
            content = entry.content
            if isinstance(content, Deflated):
                for _ in reader.inflate(content, label=entry.path):
                    pass
            else:
                for _ in reader.slices(content, label=entry.path):
                    pass


def at_once(work: Any, wheels: list[Path]) -> None:
    """Two at a time, the largest first."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(work, wheels))


def timed(work: Any) -> tuple[float, float]:
    """Seconds of the clock, and of the cores (children included)."""

    def spent() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before, start = spent(), time.perf_counter()
    work()
    return time.perf_counter() - start, spent() - before


if __name__ == "__main__":
    sys.exit(main())
