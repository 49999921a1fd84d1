"""A delta of 500 MB, normalised and packed, beside `tar | zstd -3 -T2` of the same tree.

    python bench/delta.py [--megabytes 500] [--rounds 3]

Makes two layers below and an upper folder of real files (this machine's /usr/lib and /usr/share), of which a tenth are
as below.  The bar: gzip, the default, and `--layer-format zstd` in less than 1.5 times what the pipe takes, in less
than 200 MB of memory.  The last line says what each compressor needs for the same tar alone, in CPU seconds, and how
large it makes it, in percent.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from builder.backends.executed import pack_delta
from builder.codec import codec_for
from builder.layers.writer import FRAME, ZSTD_FRAME
from builder.plan import CODECS

SOURCES = ("/usr/lib", "/usr/share", "/usr/bin")
EPOCH = 1735689600


class Sink:
    """Counts what it is given, and lets it go."""

    size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


def fill(work: Path, *, size: int) -> int:
    """Files of this machine in `upper`, every tenth of them in a layer below as well; returns their bytes."""
    total = 0
    for source in SOURCES:
        for top, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                path = Path(top, name)
                if total >= size:
                    return total
                if (
                    path.is_symlink()
                    or not path.is_file()
                    or path.stat().st_size > 60_000_000
                    or not os.access(path, os.R_OK)
                ):
                    continue
                for folder in ["upper", *(["lower-1"] if hash(name) % 10 == 0 else [])]:
                    target = work / folder / path.relative_to("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
                total += path.stat().st_size
    return total


def pipe(work: Path) -> float:
    """Seconds of the usual tools."""
    begin = time.perf_counter()
    command = f"tar -C {work / 'upper'} -c . | zstd -3 -T2 -c > /dev/null"
    subprocess.run(["sh", "-c", command], check=True)
    return time.perf_counter() - begin


def ours(work: Path, compression: str) -> tuple[float, int]:
    """Seconds, and bytes of the layer."""
    begin = time.perf_counter()
    arguments = {
        "upper": str(work / "upper"),
        "lower": [str(work / "lower-0"), str(work / "lower-1")],
        "epoch": EPOCH,
        "mounts": [],
    }
    codec = codec_for(CODECS[compression], compression)  # type: ignore[index, arg-type]
    out = Sink()
    pack_delta(arguments, out=out, codec=codec, compression=compression, threads=2)
    return time.perf_counter() - begin, out.size


def alone(work: Path, *, size: int = 100_000_000) -> dict[str, list[float]]:
    """CPU seconds and megabytes of each compressor, and of hashing, for the beginning of the upper folder's tar."""
    tar = subprocess.run(["tar", "-C", work / "upper", "-c", "."], stdout=subprocess.PIPE, check=True).stdout[:size]
    frames = [tar[start : start + FRAME] for start in range(0, len(tar), FRAME)]
    pieces = [tar[start : start + ZSTD_FRAME] for start in range(0, len(tar), ZSTD_FRAME)]
    ways: dict[str, Callable[[], int]] = {"sha256": lambda: hashlib.sha256(tar).digest_size}
    for level in range(1, 7):
        deflate = codec_for(dataclasses.replace(CODECS["gzip"], level=level), "gzip").deflate
        ways[f"libdeflate {level}"] = lambda deflate=deflate: sum(len(deflate(frame)) for frame in frames)  # type: ignore[misc]
    zstd = codec_for(CODECS["zstd"], "zstd").zstd
    ways["zstd 3"] = lambda: sum(len(zstd(piece)) for piece in pieces)
    told = {"tar": [0.0, len(tar) / 1e6]}
    for name, way in ways.items():
        begin = time.process_time()
        made = way()
        told[name] = [round(time.process_time() - begin, 2), round(made / 1e6, 1)]
    return told


def main() -> None:
    """Print a line of JSON for each compression."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for folder in ("upper", "lower-0", "lower-1"):
            (work / folder).mkdir()
        size = fill(work, size=options.megabytes * 10**6)
        pipe(work)  # the files are in memory from here on
        for compression in ("zstd", "gzip", "plain"):
            rounds = [(pipe(work), *ours(work, compression)) for _ in range(options.rounds)]
            memory = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            told = {
                "compression": compression,
                "megabytes": size // 10**6,
                "ours": round(statistics.median(own for _, own, _ in rounds), 2),
                "pipe": round(statistics.median(theirs for theirs, _, _ in rounds), 2),
                "ratio": round(statistics.median(own / theirs for theirs, own, _ in rounds), 2),
                "layer": rounds[0][2],
                "peak_kb_parent": memory[0],
                "peak_kb_child": memory[1],
            }
            print(json.dumps(told), flush=True)
        print(json.dumps({"alone": alone(work)}))


if __name__ == "__main__":
    main()
