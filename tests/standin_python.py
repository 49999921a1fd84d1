"""An interpreter of this machine packed as python-build-standalone packs its own, and a loopback mirror that has it."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MINORS = ("3.12", "3.10", "3.9", "3.8")
LEFT_OUT = {"__pycache__", "test", "idlelib", "turtledemo", "ensurepip", "site-packages", "tkinter", "lib2to3"}


def find() -> Path:
    """The executable of a Python that no Debian base has; skips, aloud, if this machine has none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in MINORS:
        found = [*sorted(pyenv.glob(f"{minor}.*/bin/python{minor}"))]
        on_path = shutil.which(f"python{minor}")
        if on_path and "/shims/" not in on_path:
            found.append(Path(on_path))
        if found:
            return found[-1]
    pytest.skip(f"no Python {', '.join(MINORS)} on this machine to make an interpreter layer from")


def facts(python: Path) -> tuple[str, Path]:
    """Its version (`3.12.1`) and its prefix."""
    code = "import platform, sys; print(platform.python_version()); print(sys.base_prefix)"
    version, prefix = subprocess.run(
        [str(python), "-I", "-c", code], check=True, capture_output=True, text=True
    ).stdout.split("\n")[:2]
    return version, Path(prefix)


def pack(python: Path, target: Path) -> str:
    """Write the archive; the version in it."""
    version, prefix = facts(python)
    minor = version.rpartition(".")[0]

    def wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = info.name.split("/")
        return None if LEFT_OUT & set(parts) or any(part.startswith("config-") for part in parts) else info

    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for name in (f"bin/python{minor}", f"lib/libpython{minor}.so.1.0"):
            path = prefix / name
            if path.exists():
                # As python-build-standalone does it: libraries are found from where the file is.
                old = f"{prefix}/lib\0".encode()
                data = path.read_bytes().replace(old, b"$ORIGIN/../lib".ljust(len(old) - 1, b"\0") + b"\0")
                info = tarfile.TarInfo(f"python/{name}")
                info.size, info.mode = len(data), 0o755
                tar.addfile(info, io.BytesIO(data))
        for name in ("python", "python3"):
            link = tarfile.TarInfo(f"python/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, f"python{minor}"
            tar.addfile(link)
        tar.add(prefix / "lib" / f"python{minor}", f"python/lib/python{minor}", filter=wanted)
    return version


@contextmanager
def mirror(folder: Path, *, version: str, archive: Path, sha256: str | None = None) -> Iterator[dict[str, str]]:
    """Serve the archive on loopback; the settings that make uv take its Pythons from there."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(archive.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    major, minor, patch = map(int, version.split("."))
    known = {
        f"cpython-{version}-linux-{family}-gnu": {
            "name": "cpython",
            "arch": {"family": family, "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": major,
            "minor": minor,
            "patch": patch,
            "prerelease": "",
            "url": f"http://127.0.0.1:{server.server_port}/{archive.name}",
            "sha256": sha256 or hashlib.sha256(archive.read_bytes()).hexdigest(),
            "variant": None,
            "build": "20250101",
        }
        for family in ("x86_64", "aarch64")
    }
    listing = folder / "pythons.json"
    listing.write_text(json.dumps(known))
    try:
        yield {"UV_PYTHON_DOWNLOADS_JSON_URL": listing.as_uri()}
    finally:
        server.shutdown()
        server.server_close()
