"""Builds one wheel, inside the image's environment, by its own Python (3.8 and later): a PEP 517 frontend.

Run as a file, with nothing of ours beside it.  Reads `job.json` and the source in its own folder, and writes to `OUT`.
First it is run by the image's Python, makes a virtual environment of the folder with the build requirements, and goes
on in that.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
from typing import Any

ROOT = "/opt/build"
OUT = ROOT + "/out"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if path != HERE]  # or `import wheel` in a backend would find this file


def main() -> None:
    """Do what `job.json` says."""
    os.umask(0o022)
    if sys.prefix != ROOT:
        enter()
    with open(HERE + "/job.json", encoding="utf-8") as file:
        job = json.load(file)
    source = unpack(job)
    os.chdir(source)
    sys.path[:0] = [os.path.join(source, path) for path in job["backend_path"]]
    if not job["backend_path"] and job["backend"].endswith(":__legacy__"):
        sys.path.insert(0, source)
    module, _, attribute = job["backend"].partition(":")
    backend = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        backend = getattr(backend, name)
    hook = getattr(backend, "get_requires_for_build_wheel", None)
    wanted = list(hook({})) if hook else []
    missing = [text for text in wanted if not installed(text)]
    os.makedirs(OUT, exist_ok=True)
    if missing and not job["complete"]:
        with open(OUT + "/requires.json", "w", encoding="utf-8") as file:
            json.dump(missing, file)
        return
    backend.build_wheel(OUT, {})


def enter() -> None:
    """Make a virtual environment where the build requirements lie, and go on in it."""
    os.makedirs(ROOT + "/bin", exist_ok=True)
    with open(ROOT + "/pyvenv.cfg", "w", encoding="utf-8") as file:
        file.write(f"home = {os.path.dirname(sys.executable)}\ninclude-system-site-packages = false\n")
    python = ROOT + "/bin/python"
    for name in ("python", "python3"):
        if not os.path.lexists(ROOT + "/bin/" + name):
            os.symlink(sys.executable, ROOT + "/bin/" + name)
    os.execv(python, [python, os.path.abspath(__file__)])


def unpack(job: dict[str, Any]) -> str:
    """The folder with the source, copied to where it may be written, always at the same place."""
    place = ROOT + "/source"
    if job["archive"]:
        archive = HERE + "/" + job["archive"]
        if sys.version_info >= (3, 12) and not archive.endswith(".zip"):
            shutil.unpack_archive(archive, place, filter="data")
        else:
            shutil.unpack_archive(archive, place)
        names = os.listdir(place)
        if len(names) == 1:
            place = os.path.join(place, names[0])
    else:
        shutil.copytree(HERE + "/source", place, symlinks=True)
    return os.path.join(place, job["subdirectory"]) if job["subdirectory"] else place


def installed(requirement: str) -> bool:
    """Whether some version of what a hook asks for is there; which one was decided outside."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0]
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    main()
