"""What bytecode layers are worth: the first import of packages, and the start of the server, with and without them.

    python bench/bytecode.py                             # the server alone: examples/hello-world
    python bench/bytecode.py torch transformers          # and the first import of each, in one image with both

Builds the image twice, with and without `--no-bytecode`, unpacks both, and starts each measured command in a fresh
container of ours over them: nothing that a run writes is there for the next.  The two are measured in turn.  `cold`:
the unpacked files are dropped from the page cache before each run, for both alike; `warm`: they stay.  The best of
`--runs` counts.  The store of the user is used, or `XDG_CACHE_HOME`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from builder import sandbox  # noqa: E402
from builder.cli.console import Console  # noqa: E402
from builder.cli.settings import read  # noqa: E402
from builder.engine.unpack import unpack_all  # noqa: E402
from builder.oci import PackedLayer  # noqa: E402
from builder.store import Store  # noqa: E402


def main() -> None:
    """Build, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="requirements (`torch`, `torch==2.13.0`) whose module is imported")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        project = work / "project"
        shutil.copytree(ROOT / "examples" / "hello-world", project)
        if given.modules:
            (project / "requirements.txt").write_text("".join(f"{line}\n" for line in given.modules))
            text = (project / "cog.yaml").read_text()
            if "python_requirements" not in text:
                text = text.replace("build:\n", "build:\n  python_requirements: requirements.txt\n", 1)
                (project / "cog.yaml").write_text(text)
        built = {}
        for name, options in (("without", ["--no-bytecode"]), ("with", [])):
            start = time.perf_counter()
            built[name] = build(project, name=f"bench-bytecode-{name}", options=options)
            took, size = time.perf_counter() - start, sum(layer.size for layer in built[name])
            print(f"{name:8} built in {took:.1f} s, {size} bytes")
        settings = read()
        with Store.open(settings.store_root) as store:
            folders = {
                name: unpack_all(layers, store=store, report=Console(quiet=True)) for name, layers in built.items()
            }
        measures: list[tuple[str, Callable[[Sequence[Path]], float]]] = [
            ("server to READY", lambda lower: ready(lower, scratch=work))
        ]
        for line in given.modules:
            module = line.split("==")[0].replace("-", "_")
            command = ("python", "-c", f"import {module}")
            measures.append(
                (f"import {module}", lambda lower, command=command: run(command, lower=lower, scratch=work))
            )
        print(f"{'':24}{'':6}{'without':>10}{'with':>10}{'ratio':>8}")
        for title, measure in measures:
            for cold in (True, False):
                best = {}
                for _ in range(given.runs):
                    for name, lower in folders.items():
                        if cold:
                            forget({*folders["with"], *folders["without"]})
                        best[name] = min(measure(lower), best.get(name, 1e9))
                ratio = best["without"] / best["with"]
                print(
                    f"{title:24}{'cold' if cold else 'warm':6}{best['without']:9.2f}s{best['with']:9.2f}s{ratio:8.2f}"
                )


def build(project: Path, *, name: str, options: Sequence[str]) -> list[PackedLayer]:
    """The layers of the image that `cogsmith build` makes."""
    command = [sys.executable, "-m", "builder.cli", "build", "-q", "-t", name, *options, str(project)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with Store.open(read().store_root) as store:
        image = store.image(name)
        assert image is not None
        diff_ids = json.loads(store.read_blob(image.manifest["config"]["digest"]))["rootfs"]["diff_ids"]
        return [
            PackedLayer(digest=layer.digest, diff_id=diff_id, size=layer.size, media_type=layer.media_type)
            for layer, diff_id in zip(image.layers, diff_ids, strict=True)
        ]


def spec(argv: Sequence[str], *, lower: Sequence[Path], scratch: Path, port: int = 5000) -> sandbox.Spec:
    """A container over the image, as its configuration has it."""
    env = {
        "PATH": "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "COG_PREDICT_TYPE_STUB": "run.py:Runner",
        "PORT": str(port),
    }
    root = sandbox.Overlay(lower=tuple(lower))
    return sandbox.Spec(root=root, argv=tuple(argv), env=tuple(env.items()), cwd="/src", scratch=scratch / "sandbox")


def run(argv: Sequence[str], *, lower: Sequence[Path], scratch: Path) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    code = sandbox.run(spec(argv, lower=lower, scratch=scratch), stdin=sandbox.DEVNULL)
    assert code == 0, f"{argv} ended with {code}"
    return time.perf_counter() - start


def ready(lower: Sequence[Path], *, scratch: Path) -> float:
    """Seconds until the server says that the model is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.perf_counter()
    quiet = sandbox.DEVNULL
    container = spec(("python", "-m", "cog.server.http"), lower=lower, scratch=scratch, port=port)
    with sandbox.start(container, stdin=quiet, stdout=quiet, stderr=quiet) as child:
        while True:
            assert child.poll() is None, "the server ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health-check", timeout=5) as answer:
                    if json.load(answer)["status"] == "READY":
                        return time.perf_counter() - start
            except OSError:
                pass
            time.sleep(0.01)


def forget(folders: set[Path]) -> None:
    """Drop the files of these folders from the page cache."""
    os.sync()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


if __name__ == "__main__":
    main()
