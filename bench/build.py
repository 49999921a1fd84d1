"""Builds against `buildah bud` of the usual Containerfile, side by side on this machine.

    python bench/build.py [--project FOLDER] [--runs 3] [--json]

Measurements on a model with torch, numpy, scipy, pillow and transformers, wheels downloaded and base cached:

1. a build up to the compressed image on disk: ours, against `buildah bud` (uv inside, wheels mounted, uv's cache warm
   and mounted) and `buildah push` to an OCI layout, which is where buildah compresses; both without bytecode
   (`--no-bytecode`), then both with it (`UV_COMPILE_BYTECODE`), which is our default and not uv's;
2. nothing to do: ours alone, wall time;
3. code changed: ours, against `buildah bud --layers`.

And the peak memory of a build of a project with a 2 GB file.  Needs buildah; as root it runs with `--isolation chroot`.
"""

from __future__ import annotations

import argparse
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
from urllib.parse import unquote, urlsplit

REQUIREMENTS = "torch==2.13.0\nnumpy==2.4.6\nscipy==1.17.1\npillow==13.0.0\ntransformers==5.23.0\n"
CONTAINERFILE = """FROM {base}
ARG BYTECODE=0
RUN UV_COMPILE_BYTECODE=$BYTECODE uv pip install --offline --no-index --find-links /wheels \\
    --python /opt/venv/bin/python -r /wheels/requirements.txt
COPY . /src
"""
ROOT = Path(__file__).parents[1]


def run(*argv: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run([*map(str, argv)], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(action: Callable[[], object]) -> float:
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


class Bench:
    def __init__(self, work: Path) -> None:
        self.work = work
        self.project = work / "project"
        self.project.mkdir()
        (self.project / "cog.yaml").write_text(
            'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
        )
        (self.project / "requirements.txt").write_text(REQUIREMENTS)
        (self.project / "run.py").write_text(
            "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return 'x'\n"
        )
        self.warm = work / "warm"
        self.storage = work / "containers"
        self.cogsmith("lock", cwd=self.project, cache=self.warm)
        self.cogsmith("build", "-q", "-t", "base", ROOT / "examples" / "hello-world", cache=self.warm)

    def cogsmith(self, *argv: str | Path, cache: Path, cwd: Path | None = None) -> str:
        env = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as any installed program is
        return run(sys.executable, "-m", "builder.cli", *argv, env=env, cwd=cwd)

    def buildah(self, *argv: str | Path) -> str:
        return run("buildah", "--root", self.storage / "root", "--runroot", self.storage / "run", *argv)

    def cold_store(self, name: str) -> Path:
        """A store with the downloads and the base's and the runtime's layers, as after any other build."""
        cache = self.work / name
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(self.warm / "cogsmith" / "files", cache / "cogsmith" / "files", copy_function=os.link)
        self.cogsmith("build", "-q", ROOT / "examples" / "hello-world", cache=cache)
        return cache

    def build_cold(self, name: str, *, bytecode: bool) -> float:
        """Seconds of a build into such a store."""
        cache = self.cold_store(name)
        flags = [] if bytecode else ["--no-bytecode"]
        took = timed(lambda: self.cogsmith("build", "-q", "--locked", *flags, self.project, cache=cache))
        shutil.rmtree(cache)
        return took

    def prepare_buildah(self) -> None:
        archive = self.work / "base.tar"
        self.cogsmith("image", "export", "base", archive, "--form", "oci-archive", cache=self.warm)
        self.base = self.buildah("pull", "-q", f"oci-archive:{archive}").strip()
        self.wheels = self.work / "wheels"
        self.wheels.mkdir()
        plan = json.loads(self.cogsmith("plan", "--json", "--locked", self.project, cache=self.warm))
        places = {remote["sha256"]: remote["urls"] for remote in plan["remotes"]}
        for layer in plan["layers"]:
            for wheel in layer["wheels"] if layer["kind"] == "wheels" else ():
                here = self.warm / "cogsmith" / "files" / "sha256" / wheel["sha256"]
                local = [unquote(urlsplit(url).path) for url in places[wheel["sha256"]] if not url.startswith("http")]
                shutil.copyfile(here if here.exists() else local[0], self.wheels / wheel["filename"])
        (self.wheels / "requirements.txt").write_text(REQUIREMENTS)
        (self.project / "Containerfile").write_text(CONTAINERFILE.format(base=self.base))
        (self.project / ".dockerignore").write_text("Containerfile\npylock.cog.toml\n")
        import uv

        self.uv = uv.find_uv_bin()
        (self.work / "uv-cache").mkdir()

    def bud(self, *extra: str) -> str:
        isolation = ["--isolation", "chroot"] if os.getuid() == 0 else []
        return self.buildah(
            "bud", "-q", *isolation, *extra,
            "-v", f"{self.uv}:/usr/local/bin/uv:ro",
            "-v", f"{self.wheels}:/wheels:ro",
            "-v", f"{self.work / 'uv-cache'}:/root/.cache/uv:rw",
            "-t", "bench", "-f", self.project / "Containerfile", self.project,
        )  # fmt: skip

    def bud_and_push(self, *, bytecode: bool) -> None:
        self.bud("--no-cache", "--build-arg", f"BYTECODE={int(bytecode)}")
        target = self.work / "pushed"
        shutil.rmtree(target, ignore_errors=True)
        self.buildah("push", "-q", "bench", f"oci:{target}:bench")


def peak_memory(bench: Bench) -> int:
    """Bytes; of the largest process among those of a build with a 2 GB file."""
    folder = bench.work / "big"
    shutil.copytree(ROOT / "examples" / "hello-world", folder)
    with (folder / "weights.bin").open("wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(2048):
            file.write(block)
    begin = bench.work / "peak.py"
    begin.write_text(
        "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(bench.warm), "PYTHONPATH": str(ROOT)}
    out = run(sys.executable, begin, sys.executable, "-m", "builder.cli", "build", "-q", folder, env=env)
    return int(out.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", type=Path, help="folder for temporary files (several GB)")
    options = parser.parse_args()
    if not shutil.which("buildah"):
        sys.exit("buildah is not installed")
    work = Path(tempfile.mkdtemp(prefix="cogsmith-bench-", dir=options.work))
    results: dict[str, object] = {}
    try:
        bench = Bench(work)
        bench.prepare_buildah()
        bench.bud("--no-cache")  # warms uv's cache
        for name, bytecode in (("build", False), ("build_with_bytecode", True)):
            ours, theirs = [], []
            for number in range(options.runs):
                ours.append(bench.build_cold(f"cold{number}", bytecode=bytecode))
                theirs.append(timed(lambda bytecode=bytecode: bench.bud_and_push(bytecode=bytecode)))
            results[name] = compare(ours, theirs)
        bench.cogsmith("build", "-q", "--locked", bench.project, cache=bench.warm)
        nothing = [
            timed(lambda: bench.cogsmith("build", "-q", "--locked", bench.project, cache=bench.warm)) for _ in range(7)
        ]
        results["nothing_to_do_seconds"] = round(statistics.median(nothing), 3)
        bench.bud("--layers")
        ours, theirs = [], []
        for number in range(max(5, options.runs)):
            with (bench.project / "run.py").open("a") as file:
                file.write(f"# {number}\n")
            ours.append(timed(lambda: bench.cogsmith("build", "-q", "--locked", bench.project, cache=bench.warm)))
            theirs.append(timed(lambda: bench.bud("--layers")))
        results["code_changed"] = compare(ours, theirs)
        results["peak_memory_2gb_file_bytes"] = peak_memory(bench)
    finally:
        if os.getuid():
            subprocess.run(["buildah", "unshare", "rm", "-rf", work], check=False)
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        print(json.dumps(results))
        return
    for name in ("build", "build_with_bytecode", "code_changed"):
        figures = results[name]
        assert isinstance(figures, dict)
        print(f"{name}: ours {figures['ours']} s, buildah {figures['theirs']} s, {figures['ratio']} times as fast")
    print(f"nothing to do: {results['nothing_to_do_seconds']} s")
    print(f"peak memory with a 2 GB file: {int(str(results['peak_memory_2gb_file_bytes'])) / 1e6:.0f} MB")
    print(f"this program: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB", file=sys.stderr)


def compare(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Medians in seconds, and the median of the ratios of the pairs."""
    return {
        "ours": round(statistics.median(ours), 2),
        "theirs": round(statistics.median(theirs), 2),
        "ratio": round(statistics.median(t / o for o, t in zip(ours, theirs, strict=True)), 2),
    }


if __name__ == "__main__":
    main()
