"""The Nix backend beside the embedded one, on this machine.

    python bench/nix.py [--project FOLDER] [--runs 3] [--work FOLDER]
    python bench/nix.py --examples [NAME ...] [--releases FOLDER ...]    # equal digests of every example, no times

1. a build into an empty store, downloads at hand and locked: embedded into an empty cache, Nix into that and
   an empty private store, by turns; the ratio counts;
2. nothing to do;
3. the code changed: embedded and Nix, by turns;
4. what the closure of the image holds, and how many store paths a change of code adds.

The project is a model with torch for the CPU, unless one is given (it must have a lock file).

`--examples` builds each example (or those named) by this machine's Nix, and by the releases of Nix whose programs are
in the folders of `--releases`, into a store and a cache that have the downloads and nothing that was made of them; what
a command makes comes from where it was run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = 'build:\n  python_version: "3.11"\n  python_requirements: requirements.txt\nrun: "run.py:Runner"\n'
CODE = "from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return 'x'\n"


def run(*argv: str | Path, cache: Path, cwd: Path) -> tuple[float, float, str]:
    """Wall and processor seconds of one command, and what it printed."""
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before, begin = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", *map(str, argv)],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.monotonic() - begin, os.times()
    if done.returncode:
        sys.exit(f"{argv}\n{done.stderr}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent, done.stdout.strip()


def remove(folder: Path) -> None:
    """Also a Nix store, which is a read-only tree."""
    if folder.exists():
        subprocess.run(["chmod", "-R", "u+w", folder], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def empty(cache: Path, *, like: Path) -> Path:
    """A cache that has the downloads of another, and nothing else."""
    remove(cache)
    shutil.copytree(like / "cogsmith" / "files", cache / "cogsmith" / "files", copy_function=os.link)
    return cache


def compare_examples(names: list[str], *, releases: list[Path], work: Path) -> bool:
    """Whether each example has one digest, by the embedded backend and by each Nix; prints a line for each."""
    path, equal = os.environ["PATH"], True
    for name in names:
        project = work / name
        shutil.copytree(ROOT / "examples" / name, project)
        run("lock", cache=work / "warm", cwd=project)
        wanted = run("build", "-q", "--locked", cache=work / "warm", cwd=project)[2]
        plan = json.loads(run("plan", "--json", "--locked", cache=work / "warm", cwd=project)[2])
        executed = any(layer["kind"] in ("packages", "run") for layer in plan["layers"])
        for number, folder in enumerate([None, *releases]):
            os.environ["PATH"] = f"{folder}:{path}" if folder else path
            cache = work / "warm" if executed else empty(work / f"cache-{number}", like=work / "warm")
            by_nix = ("build", "-q", "--locked", "--backend", "nix", "--nix-store", work / f"store-{number}")
            found = run(*by_nix, cache=cache, cwd=project)[2]
            print(
                f"{'same   ' if found == wanted else 'DIFFERS'} {name}, {folder or 'Nix of this machine'}", flush=True
            )
            equal &= found == wanted
        os.environ["PATH"] = path
    return equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--examples", nargs="*", metavar="NAME", help="compare digests of these (default: all)")
    parser.add_argument("--releases", nargs="*", type=Path, default=[], metavar="FOLDER", help="other releases of Nix")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="cogsmith-bench-", dir=options.work))
    warm, store, project = work / "warm", work / "nix", work / "project"
    try:
        if options.examples is not None:
            names = options.examples or sorted(path.parent.name for path in (ROOT / "examples").glob("*/cog.yaml"))
            sys.exit(not compare_examples(names, releases=options.releases, work=work))
        if options.project:
            shutil.copytree(options.project, project)
        else:
            project.mkdir()
            (project / "cog.yaml").write_text(CONFIG)
            (project / "requirements.txt").write_text("torch==2.13.0\nnumpy\n")
            (project / "run.py").write_text(CODE)
            run("lock", cache=warm, cwd=project)
        wanted = run("build", "--locked", cache=warm, cwd=project)[2]
        by_nix = ("build", "--locked", "--backend", "nix", "--nix-store", store)
        fresh = []
        for _ in range(options.runs):
            ours = run("build", "--locked", cache=empty(work / "cold", like=warm), cwd=project)
            remove(store)
            theirs = run(*by_nix, cache=empty(work / "cold", like=warm), cwd=project)
            assert ours[2] == theirs[2] == wanted, (ours, theirs, wanted)
            fresh.append((ours, theirs))
            print(f"  fresh: embedded {ours[0]:.1f} s, nix {theirs[0]:.1f} s", file=sys.stderr)
        show("fresh store", fresh)
        cold = work / "cold"
        nothing = [run(*by_nix, cache=cold, cwd=project) for _ in range(5)]
        print(f"nothing to do: {middle(nothing, 0):.2f} s wall, {middle(nothing, 1):.2f} s of processor")
        run("build", "--locked", cache=cold, cwd=project)
        before = len(list((store / "nix" / "store").glob("*-layer"))) + len(
            list((store / "nix" / "store").glob("*-image"))
        )
        changed = []
        for number in range(options.runs):
            (project / "run.py").write_text(f"{CODE}# {number}\n")
            theirs = run(*by_nix, cache=cold, cwd=project)
            (project / "run.py").write_text(f"{CODE}# again {number}\n")
            changed.append((run("build", "--locked", cache=cold, cwd=project), theirs))
        show("code changed", changed)
        after = len(list((store / "nix" / "store").glob("*-layer"))) + len(
            list((store / "nix" / "store").glob("*-image"))
        )
        print(f"store paths that a change of code adds: {(after - before) / options.runs:g}")
        roots = [
            link
            for link in (cold / "cogsmith" / "nix" / "roots").glob("*/*")
            if str(link.readlink()).endswith("-image")
        ]
        query = ["nix-store", "--store", str(store), "--query", "--requisites", str(roots[0].readlink())]
        closure = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
        print("the closure of an image:", ", ".join(sorted(path.split("-", 1)[1] for path in closure)))
    finally:
        remove(work)


def middle(runs: list[tuple[float, float, str]], number: int) -> float:
    return statistics.median(run[number] for run in runs)  # type: ignore[type-var]


def show(what: str, pairs: list[tuple[tuple[float, float, str], tuple[float, float, str]]]) -> None:
    """Medians of both, and the median of the ratios of runs that followed each other."""
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    wall = statistics.median(t[0] / o[0] for o, t in pairs)
    spent = statistics.median(t[1] / o[1] for o, t in pairs)
    print(
        f"{what}: embedded {middle(ours, 0):.2f} s, nix {middle(theirs, 0):.2f} s: {wall:.2f} times as long "
        f"(processor {middle(ours, 1):.2f} s and {middle(theirs, 1):.2f} s, {spent:.2f} times)"
    )


if __name__ == "__main__":
    main()
