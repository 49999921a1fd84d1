"""Makes `builder/runtime_pins.json`: the wheels of the image's server, for every Python and platform.

Run by a maintainer before a release, never by a build: `python -m builder.resolve.pin_runtime [PYTHON...]`; the Pythons
that are not named keep what they have.  `uv` resolves with its own settings; of each package the newest version that
supports the Python and has a wheel for an old glibc is taken, so that one runtime works on every base (those with musl
are refused when the base is read).  The file holds no URLs: a build asks the package index for the names.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests
import uv
from packaging.tags import Tag, cpython_tags
from packaging.utils import parse_wheel_filename

from builder import process
from builder.errors import ResolveError

FORMAT = 1
"""Version of the file's JSON."""

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

REQUIREMENTS = ("fastapi", "uvicorn", "httptools", "uvloop")
"""What the server imports (runtime/cog/server); their own dependencies follow."""

GLIBC = ((2, 17), (2, 12), (2, 5))
"""Oldest C libraries that a wheel may ask for, best first, as PEP 600 and its predecessors name them."""

LEGACY = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}

PINS = Path(__file__).resolve().parent.parent / "runtime_pins.json"


def pin(pythons: Iterable[str] = PYTHONS) -> dict[str, Any]:
    """Resolve for every Python and platform; ResolveError if a package has no fitting wheel."""
    sizes: dict[str, int] = {}
    pins = {
        python: {name: _resolve(python, machine=machine, sizes=sizes) for name, machine in MACHINES.items()}
        for python in pythons
    }
    return {"version": FORMAT, "glibc": ".".join(map(str, GLIBC[0])), "pins": pins}


def dumps(pins: Mapping[str, Any]) -> str:
    """The file's text: one wheel a line, so that a change is readable."""
    lines = ["{", f'  "version": {pins["version"]},', f'  "glibc": "{pins["glibc"]}",', '  "pins": {']
    for python, platforms in pins["pins"].items():
        lines.append(f'    "{python}": {{')
        for platform, wheels in platforms.items():
            rows = ",\n".join(f"        {json.dumps(wheel)}" for wheel in wheels)
            lines += [f'      "{platform}": [', rows, "      ],"]
        lines[-1] = "      ]"
        lines.append("    },")
    lines[-1] = "    }"
    return "\n".join([*lines, "  }", "}"]) + "\n"


def supported_tags(python: str, *, machine: str) -> list[Tag]:
    """The wheel tags of CPython `python` (`3.11`) on an old Linux, best first."""
    major, minor = (int(part) for part in python.split("."))
    platforms = [
        name
        for version in GLIBC
        for name in (f"manylinux_{version[0]}_{version[1]}_{machine}", f"{LEGACY[version]}_{machine}")
    ]
    platforms += [f"manylinux_2_{minor}_{machine}" for minor in range(16, 4, -1)]
    pure = [Tag(f"py{version}", "none", "any") for version in (f"{major}{minor}", str(major))]
    return [*cpython_tags((major, minor), platforms=platforms), *pure]


def _resolve(python: str, *, machine: str, sizes: dict[str, int]) -> list[dict[str, Any]]:
    command = [
        uv.find_uv_bin(), "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--format", "pylock.toml",
        "--python-version", python, "--python-platform", f"{machine}-manylinux2014", "--only-binary", ":all:",
    ]  # fmt: skip
    text = process.run(
        command,
        purpose=f"resolve the server's packages for Python {python} on {machine}",
        stdin="\n".join(REQUIREMENTS).encode(),
        error=ResolveError,
        hint="is a package index reachable",
    )
    tags = supported_tags(python, machine=machine)
    packages = tomllib.loads(text.decode())["packages"]
    return [_pinned(package, tags=tags, sizes=sizes) for package in sorted(packages, key=lambda one: one["name"])]


def _pinned(package: Mapping[str, Any], *, tags: list[Tag], sizes: dict[str, int]) -> dict[str, Any]:
    ranked = []
    for wheel in package.get("wheels", ()):
        filename = wheel.get("name") or wheel["url"].rsplit("/", 1)[-1]
        fitting = [tags.index(tag) for tag in parse_wheel_filename(filename)[3] if tag in tags]
        if fitting:
            ranked.append((min(fitting), filename, wheel))
    if not ranked:
        raise ResolveError(
            f"no wheel of {package['name']} {package['version']} fits",
            hint="ask for another version of it in the runtime's requirements",
        )
    _, filename, wheel = min(ranked, key=lambda one: one[:2])
    return {
        "name": package["name"],
        "version": package["version"],
        "filename": filename,
        "sha256": wheel["hashes"]["sha256"],
        "size": wheel.get("size") or _size(wheel["url"], sizes=sizes),
    }


def _size(url: str, *, sizes: dict[str, int]) -> int:
    if url not in sizes:
        answer = requests.head(url, timeout=60, allow_redirects=True, headers={"Accept-Encoding": "identity"})
        if not answer.ok or not answer.headers.get("Content-Length", "").isdigit():
            raise ResolveError(
                f"the package index does not tell the size of {url.rsplit('/', 1)[-1]}", hint="use another index"
            )
        sizes[url] = int(answer.headers["Content-Length"])
    return sizes[url]


def main() -> None:
    """Write the file; arguments are the Pythons to resolve again."""
    chosen = [python for python in PYTHONS if python in sys.argv[1:]] or PYTHONS
    made = pin(chosen)
    kept = json.loads(PINS.read_text(encoding="utf-8"))["pins"] if PINS.exists() else {}
    merged = kept | made["pins"]
    text = dumps({**made, "pins": {python: merged[python] for python in PYTHONS if python in merged}})
    PINS.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{PINS}\n")


if __name__ == "__main__":
    main()
