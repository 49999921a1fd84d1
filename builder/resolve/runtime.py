"""What this release puts into every image: the files of the SDK and the server, and the server's pinned wheels.

Finds the top-level `runtime/` folder beside `builder/` without importing it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builder
from builder.errors import ResolveError
from builder.plan import LAYER_FORMAT, Entry, Remote, Wheel, canonical_json, to_plain
from builder.report import Report
from builder.resolve.source import HashFile, scan
from builder.store import Store

if TYPE_CHECKING:
    from builder.resolve import wheels

PINS = "runtime_pins.json"


def runtime_files(*, hash_file: HashFile) -> tuple[tuple[Entry, ...], dict[str, Path]]:
    """The files of `runtime/` as entries relative to it, and their paths on this disk by sha256."""
    root = _folder()
    entries = tuple(entry for entry in scan(root, hash_file=hash_file).entries if _belongs(entry))
    return entries, {entry.sha256: root / entry.path for entry in entries if entry.type == "file"}


def build_id(entries: Iterable[Entry]) -> str:
    """What this build of the release would put into an image: its files (`runtime_files`), and how layers are made.

    A lock that names another one names layers that are not made any more.
    """
    return hashlib.sha256(canonical_json([LAYER_FORMAT, to_plain(tuple(entries))])).hexdigest()


def resolve_runtime(
    *, python_version: str, platform: str, store: Store, env: Mapping[str, str], report: Report
) -> tuple[tuple[Wheel, ...], tuple[Remote, ...]]:
    """The server's wheels for the Python `python_version` (`3.11`), and where the user's index has those very files.

    `ResolveError` if this release pins none for that Python and platform, or if the index lacks one.
    """
    # Imported here: a build with nothing to do asks for the files only.
    from builder.resolve import indexes, uv, wheels
    from builder.resolve.sessions import session_factory

    pinned = pins(python_version=python_version, platform=platform)
    environment = indexes.uv_environment(env, report=report)
    version = ["--no-deps", "--python-version", python_version]
    # The pins suit an old glibc.  An index that lists a version without the file hides the next index that has it,
    # and less so where uv looks for this platform alone; but then it names one file only, which may be another.
    found: dict[str, wheels.Offer] = {}
    for arguments in (["--python-platform", uv.python_platform(platform, glibc=_document()["glibc"])], ["--universal"]):
        missing = [wheel for wheel in pinned if wheel.sha256 not in found]
        if missing:
            found |= _offered(missing, arguments=[*version, *arguments], store=store, env=environment)
    missing = [wheel for wheel in pinned if wheel.sha256 not in found]
    if missing:
        raise ResolveError(
            "the package index lacks files that the server in the image needs",
            details="\n".join(wheel.filename for wheel in missing),
            hint="use an index that mirrors the public one file by file, or add one to it",
        )
    chosen = [dataclasses.replace(found[wheel.sha256], size=wheel.size) for wheel in pinned]
    return wheels.complete(chosen, store=store, new_session=session_factory(environment))


def _offered(
    pinned: Iterable[Wheel], *, arguments: Sequence[str], store: Store, env: Mapping[str, str]
) -> dict[str, wheels.Offer]:
    """By sha256, what the index has of the pinned versions."""
    from builder.resolve import uv, wheels

    lines = [f"{wheel.name}=={wheel.version}" for wheel in pinned]
    with store.scratch() as scratch:
        try:
            lock = uv.compile_lock(lines, scratch=scratch, arguments=arguments, env=env)
        except ResolveError as problem:
            raise uv.explained(problem, target="the server in the image") from problem
        return {offer.sha256: offer for offers in wheels.offers(lock, folder=scratch).values() for offer in offers}


def pins(*, python_version: str, platform: str) -> tuple[Wheel, ...]:
    """The server's wheels as this release pins them, sorted by name."""
    architecture = platform.partition("/")[2]
    listed = _document()["pins"].get(python_version, {}).get(architecture)
    if listed is None:
        raise ResolveError(
            f"this release has no server for Python {python_version} on {platform}",
            hint="use Python 3.8 to 3.14 on linux/amd64 or linux/arm64",
        )
    return tuple(sorted((_wheel(pin) for pin in listed), key=lambda wheel: wheel.name))


def _wheel(pin: Mapping[str, Any]) -> Wheel:
    return Wheel(
        name=pin["name"],
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
    own = parts[0] == "cog" or parts[0].endswith(".dist-info")
    return own and "__pycache__" not in parts and not any(part.startswith(".") for part in parts)
