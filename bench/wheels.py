"""Wheels to layers: that they hold what an installer puts there, and what that costs.

    python bench/wheels.py same                      # 40 popular packages: our layer against `uv pip install`
    python bench/wheels.py same numpy==2.2.6         # or these
    python bench/wheels.py speed FOLDER|WHEEL...     # wheels to layers against sha256sum and inflating them, two cores
    python bench/wheels.py big                       # a wheel of 2.2 GB, a file of 4.3 GB in it: memory; as by uv
    python bench/wheels.py many [REQUIREMENTS]       # 310 packages: lock, plan, build; 100 layers at most

`same` compares the content of every file, whether it is executable, and RECORD row by row, apart from the installer's
own notes (`tests/layers/trees.py`).  `speed` measures in one run, on the same cores: ours checks the sha256 and
the CRC-32 of every file, and makes layers with digest and diff id; the other side reads each wheel with `sha256sum` and
inflates its members with `zlib` (or `isal`, where installed), which checks their CRC-32 as well, and keeps nothing.
`big` needs 12 GB of disk (`TMPDIR`) and nothing from a network; `many` downloads 1 GB into a store of its own.
"""

from __future__ import annotations

import argparse
import base64
import collections
import concurrent.futures
import gzip
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
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
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["same", "speed", "big", "many"])
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    if given.what == "big":
        return big()
    if given.what == "many":
        return many(Path(given.names[0]) if given.names else ROOT / "bench/popular.txt")
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


def big() -> int:
    """A wheel of more than 2 GB, with a stored file of that size and a deflated one of more than 4 GiB (zip64)."""
    site = "opt/venv/lib/python3.11/site-packages"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        wheel, layer = work / "huge-1.0-py3-none-any.whl", work / "layer"
        write_big(wheel)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e9:.2f} GB")
        pid, start = os.fork(), time.perf_counter()  # so that the peak is that of making the layer
        if pid == 0:
            make(wheel, out=layer, threads=2)
            os._exit(0)
        _, status, usage = os.wait4(pid, 0)
        spent, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        took = time.perf_counter() - start
        print(f"layer: {took:.0f} s of the clock, {spent:.0f} s of the cores, {memory:.0f} MB of memory", flush=True)
        ours = {}
        with gzip.open(layer) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                if member.isfile() and (content := tar.extractfile(member)):
                    path = member.name.removeprefix(f"{site}/")
                    ours[path] = told(path, content)
        layer.unlink()
        options = ["--target", work / "there", "--python-version", "3.11", "--link-mode", "hardlink", "--no-deps"]
        command = ["uv", "pip", "install", "-q", "--no-index", "--cache-dir", work / "cache", *options, wheel]
        subprocess.run(command, check=True)
        theirs = {}
        for place in (work / "there").rglob("*"):
            if place.is_file():
                path = place.relative_to(work / "there").as_posix()
                with place.open("rb") as opened:
                    theirs[path] = told(path, opened)
        found, expected = ({path: what for path, what in tree.items() if what} for tree in (ours, theirs))
    print(f"{len(found)} files, {'the same' if found == expected else 'not the same'} as by uv")
    return int(status != 0 or found != expected or memory > 300)


def told(path: str, file: Any) -> str:
    """What is compared of a file: its hash, of a RECORD its rows, of the installer's own notes nothing."""
    notes = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", ".lock")
    if path.endswith("/RECORD"):
        rows = file.read().decode().splitlines()
        return "\n".join(sorted(row for row in rows if not row.partition(",")[0].endswith(notes)))
    return "" if path.endswith(notes) else hashlib.file_digest(file, "sha256").hexdigest()


def write_big(wheel: Path) -> None:
    """Write that wheel, with its RECORD."""
    noise = random.Random(6).randbytes(1 << 20)
    plans = {"huge/stored.bin": (noise, 2100, zipfile.ZIP_STORED), "huge/deflated.bin": (bytes(1 << 20), 4100, 8)}
    rows = []
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, (block, times, method) in plans.items():
            entry = zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = method, 0o644 << 16
            sha256 = hashlib.sha256()
            with archive.open(entry, "w", force_zip64=True) as file:
                for number in range(times):
                    data = number.to_bytes(8, "big") + block[8:]
                    sha256.update(data)
                    file.write(data)
            rows.append(row(path, sha256, len(block) * times))
        info = "huge-1.0.dist-info"
        small = {
            "huge/__init__.py": b"x = 1\n",
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: huge\nVersion: 1.0\n",
        }
        for path, data in small.items():
            archive.writestr(path, data)
            rows.append(row(path, hashlib.sha256(data), len(data)))
        archive.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))


def row(path: str, sha256: Any, size: int) -> str:
    """A line of RECORD."""
    digest = base64.urlsafe_b64encode(sha256.digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{size}\n"


def many(requirements: Path) -> int:
    """A project of hundreds of packages: locked, planned, built."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name) / "project"
        project.mkdir()
        lines = requirements.read_text()
        (project / "requirements.txt").write_text(lines)
        (project / "cog.yaml").write_text(
            'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
        )
        (project / "run.py").write_text("class Runner:\n    def run(self, text: str) -> str:\n        return text\n")
        env = {**os.environ, "XDG_CACHE_HOME": name, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        print(f"{sum('==' in line for line in lines.splitlines())} packages")
        output = b""
        for words in (["lock"], ["plan", "--json"], ["build"], ["build"]):
            start = time.perf_counter()
            command = [sys.executable, "-m", "builder.cli", *words, str(project)]
            output = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout
            print(f"{' '.join(words):12}{time.perf_counter() - start:8.1f} s", flush=True)
            if words[0] == "plan":
                layers = json.loads(output)["layers"]
        kinds = collections.Counter(layer["kind"] for layer in layers)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{len(layers)} layers: {dict(kinds)}; {memory:.0f} MB of memory at most")
    return int(len(layers) > 100)


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
