"""Small projects, wheels and bases, so that a test of the command line costs little."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from small_images import add_image, add_layer, tar_of

from builder.layout import export_image
from builder.report import Quiet
from builder.store import Store
from tests.conftest import Cogsmith, Done

PATIENCE = 60.0
"""Seconds to wait for what must happen; nothing is asserted about how soon it does."""
LIBC = b"\x7fELF GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"
SOURCE = """from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, text: str = "x") -> str:
        return text
"""


def error(done: Done, code: int | None = None) -> str:
    """The one error of a failed run, which must have a hint; nothing may be on standard output."""
    assert done.code not in (0, 2), done
    assert code is None or done.code == code, done
    lines = done.err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, done.err
    assert len([line for line in lines if line.startswith("hint: ")]) == 1, done.err
    assert done.out == ""
    return done.err


def write_bases(folder: Path) -> None:
    """An OCI layout with `tiny:amd64` and `tiny:arm64`: a C library's and a Python's names, and nothing that runs."""
    with Store.open(folder.with_name(f"{folder.name}-store")) as store:
        for machine, triplet in (("amd64", "x86_64-linux-gnu"), ("arm64", "aarch64-linux-gnu")):
            files: dict[str, bytes | None] = {
                f"usr/lib/{triplet}/libc.so.6": LIBC,
                "usr/local/bin/python3.11": b"\x7fELF",
                "etc/machine": machine.encode(),
            }
            env = (("PATH", "/usr/local/bin:/usr/bin:/bin"), ("PYTHON_VERSION", "3.11.9"))
            layers = [add_layer(store, tar_of(files))]
            image = add_image(store, f"tiny:{machine}", layers, env=env, platform=f"linux/{machine}")
            export_image(store, image=image, path=folder, form="oci-dir", report=Quiet())


def one_of(layout: Path, machine: str, folder: Path) -> Path:
    """A layout like `layout` with the image `tiny:MACHINE` alone."""
    shutil.copytree(layout, folder)
    index = json.loads((folder / "index.json").read_text())
    index["manifests"] = [entry for entry in index["manifests"] if machine in str(entry["annotations"])]
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def write_project(
    folder: Path, *, base: str = "", requirements: str | None = None, source: str = SOURCE, more: str = ""
) -> Path:
    """A project; without `base` on Debian, so that it shares the layers of hello-world."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["build:", '  python_version: "3.11"']
    if base:
        lines.append(f'  base_image: "{base}"')
    if requirements is not None:
        lines.append("  python_requirements: requirements.txt")
        (folder / "requirements.txt").write_text(requirements)
    (folder / "cog.yaml").write_text("\n".join([*lines, 'run: "run.py:Runner"', more]) + "\n")
    (folder / "run.py").write_text(source)
    return folder


def write_wheel(folder: Path, name: str, version: str, *, needs: str = "") -> Path:
    """A pure wheel of one module, dated 2020."""
    folder.mkdir(exist_ok=True)
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        f"{module}.py": f'__version__ = "{version}"\n',
        f"{info}/METADATA": metadata + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD"))
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in contents.items():
            archive.writestr(zipfile.ZipInfo(file, (2020, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return path


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true before patience ends."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def start(cogsmith: Cogsmith, *arguments: str | Path, cwd: Path, **streams: int) -> subprocess.Popen[str]:
    """The program, running; standard error goes to a pipe unless told otherwise."""
    return subprocess.Popen(
        [sys.executable, "-m", "builder.cli", *map(str, arguments)],
        cwd=cwd,
        env=cogsmith.env(),
        text=True,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


def descendants(pid: int) -> set[int]:
    """All processes below `pid`, however deep, in whatever namespace."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    found: set[int] = set()
    todo = [pid]
    while todo:
        parent = todo.pop()
        children = {child for child, above in parents.items() if above == parent}
        found |= children
        todo += children
    return found


def gone(pids: set[int]) -> bool:
    """Whether none of these processes runs any more."""
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            return False
    return True


def end(process: subprocess.Popen[str]) -> None:
    """Whatever a failed test left running."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
