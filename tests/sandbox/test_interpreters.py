"""The child program by every Python of this machine, in a root where that Python's own files are out of reach."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder import sandbox

from .boxes import Box

SCRIPT = """
import dataclasses, signal, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from builder import sandbox
from builder.errors import SandboxError
from builder.sandbox import Directory, Mount, Overlay, Spec
lower, scratch, loader, libraries = sys.argv[2:6]
def spec(*argv, **changes):
    moved = ("/elsewhere" + loader, "--library-path", "/elsewhere" + libraries, "/elsewhere/usr/bin/" + argv[0])
    made = Spec(root=Overlay(lower=(Path(lower),)), argv=(*moved, *argv[1:]), scratch=Path(scratch),
                mounts=(Mount(target="/elsewhere/usr", source=Path("/usr"), readonly=True),))
    return dataclasses.replace(made, **changes)
print(sandbox.check(scratch=Path(scratch)))
for init in (True, False):
    print(sandbox.run(spec("sh", "-c", "exit 7", init=init)))
    print(sandbox.run(spec("sh", "-c", "exit 8", init=init, network="none", cwd="/made/here", user="0:0")))
    for argv in (("nothing",), ("/etc",)):
        try: sandbox.run(spec("true", argv=argv, init=init, env=(("PATH", "/usr/bin:/bin"),)))
        except SandboxError as problem: print(problem.brief)
    with sandbox.start(spec("sleep", "1000", init=init)) as child:
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGKILL)
        print(child.wait() in (143, 137))
"""
ROUND = ["7", "8", "could not run `nothing` in the container: it is not in the image"]
ROUND += ["could not run `/etc` in the container: permission denied", "True"]


@pytest.mark.parametrize("python", ["own", "python3.11", "python3.12", "python3.13", "python3.14"])
def test_nothing_is_imported_late(box: Box, python: str) -> None:
    path = sys.executable if python == "own" else shutil.which(python)
    if path is None:
        pytest.skip(f"{python} is not installed")
    works = subprocess.run([path, "-c", "import ctypes"], capture_output=True, check=False)
    if works.returncode:
        pytest.skip(f"{python} does not work here")
    loader = next(iter(sorted(Path("/usr").glob("lib*/ld-linux*.so.*"))), None)
    found = next(iter(sorted(Path("/usr").glob("lib*/**/libc.so.6"))), None)
    if loader is None or found is None:
        pytest.skip("no glibc in /usr")
    root = Path(sandbox.__file__).parents[2]
    words = [
        path,
        "-B",
        "-c",
        SCRIPT,
        str(root),
        str(box.lower),
        str(box.scratch),
        str(loader.resolve()),
        str(found.parent),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", *ROUND, *ROUND], done.stderr
