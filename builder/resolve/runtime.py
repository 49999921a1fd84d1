"""What this release puts into every image: the files of the SDK and the server, and the server's pinned wheels.

Finds the top-level `runtime/` folder beside `builder/` without importing it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

import builder
from builder.errors import ResolveError
from builder.plan import Entry, Remote, Wheel
from builder.report import Report
from builder.resolve import indexes, uv, wheels
from builder.resolve.python import session_factory
from builder.resolve.source import HashFile, scan
from builder.store import Store

PINS = "runtime_pins.json"


def runtime_files(*, hash_file: HashFile) -> tuple[tuple[Entry, ...], dict[str, Path]]:
    """The files of `runtime/` as entries relative to it, and their paths on this disk by sha256."""
    root = _folder()
    entries = tuple(entry for entry in scan(root, hash_file=hash_file).entries if _belongs(entry))
    return entries, {entry.sha256: root / entry.path for entry in entries if entry.type == "file"}


def resolve_runtime(
    *, python_version: str, platform: str, store: Store, env: Mapping[str, str], report: Report
) -> tuple[tuple[Wheel, ...], tuple[Remote, ...]]:
    """The server's wheels for the Python `python_version` (`3.11`), and where the user's index has those very files.

    `ResolveError` if this release pins none for that Python and platform, or if the index lacks one.
    """
    pinned = pins(python_version=python_version, platform=platform)
    environment = indexes.uv_environment(env, report=report)
    lines = [f"{wheel.name}=={wheel.version}" for wheel in pinned]
    # Every file of those versions, not only the best for a platform: the hash says which.
    arguments = ["--no-deps", "--universal", "--python-version", python_version]
    with store.scratch() as scratch:
        try:
            lock = uv.compile_lock(lines, scratch=scratch, arguments=arguments, env=environment)
        except ResolveError as problem:
            raise uv.explained(problem, target=f"the server in the image, Python {python_version}") from problem
        offered = wheels.offers(lock, folder=scratch)
    found = {offer.sha256: offer for offers in offered.values() for offer in offers}
    missing = [wheel.filename for wheel in pinned if wheel.sha256 not in found]
    if missing:
        raise ResolveError(
            "the package index lacks files that the server in the image needs",
            details="\n".join(missing),
            hint="use an index that mirrors the public one file by file, or add one to it",
        )
    chosen = [found[wheel.sha256] for wheel in pinned]
    return wheels.complete(chosen, store=store, new_session=session_factory(environment))


def pins(*, python_version: str, platform: str) -> tuple[Wheel, ...]:
    """The server's wheels as this release pins them, sorted by name."""
    architecture = platform.partition("/")[2]
    listed = _document()["pins"].get(python_version, {}).get(architecture)
    if listed is None:
        raise ResolveError(
            f"this release has no server for Python {python_version} on {platform}",
            hint="use Python 3.10 to 3.14 on linux/amd64 or linux/arm64",
        )
    return tuple(sorted((_wheel(pin) for pin in listed), key=lambda wheel: wheel.name))


def _wheel(pin: Mapping[str, Any]) -> Wheel:
    return Wheel(
        name=canonicalize_name(pin["name"]),
        version=pin["version"],
        filename=pin["filename"],
        size=pin["size"],
        sha256=pin["sha256"],
    )


@functools.cache
def _document() -> dict[str, Any]:
    path = Path(builder.__file__).parent / PINS
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if data.get("version") != 1:
        raise ResolveError(f"`{path}` is of another release", hint="install cogsmith again")
    return data


def _folder() -> Path:
    folder = Path(builder.__file__).parent.parent / "runtime"
    if not folder.is_dir():
        raise ResolveError(f"`{folder}` is missing", hint="install cogsmith again")
    return folder


def _belongs(entry: Entry) -> bool:
    parts = entry.path.split("/")
    return "__pycache__" not in parts and not entry.path.endswith((".pyc", "~"))
