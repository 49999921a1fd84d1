"""A package that was built, as PEP 751 has it: what it comes from, which other tools build themselves.  No I/O.

The wheel that came of it, by hash, and what it was built with are in the package's own table of ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from builder.lock import Built
from builder.lock.tables import mapping, read, table
from builder.plan import Wheel

_OWN = "tool.cogsmith"
_SPOKEN = frozenset(
    {"sha256", "filename", "size", "source_sha256", "url", "commit", "subdirectory", "source", "requires"}
)
"""Fields of `Built` that other tables of the package say."""


def built_package(wheel: Wheel, built: Built, *, requires: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The table of a package that was built; `requires` are the tables of its build requirements."""
    below = {"subdirectory": built.subdirectory} if built.subdirectory else {}
    if built.source == "git":
        place: dict[str, Any] = {"type": "git", "url": built.url, "commit-id": built.commit, **below}
    elif built.source == "directory":
        place = {"path": built.url, **below}
    else:
        local = "://" not in built.url
        where = {"path": built.url} if local else {"url": built.url}
        name = {"name": built.filename} if built.source == "sdist" else below
        place = {**name, **where, "size": built.size, "hashes": {"sha256": built.source_sha256}}
    spoken = _SPOKEN - {"source_sha256"} if built.source == "directory" else _SPOKEN  # PEP 751 has no room for it
    build = {key: value for key, value in table(built).items() if key.replace("-", "_") not in spoken}
    own = {"wheel": table(wheel), "build": build, "requires": list(requires)}
    kind = "vcs" if built.source == "git" else built.source
    return {"name": wheel.name, "version": wheel.version, kind: place, "tool": {"cogsmith": own}}


def is_built(item: Mapping[str, Any]) -> bool:
    """Whether the table of a package is one of `built_package`."""
    own = item.get("tool", {}).get("cogsmith", {})
    return "wheels" not in item and isinstance(own, Mapping) and "wheel" in own


def read_built(item: Mapping[str, Any], *, where: str) -> tuple[Wheel, Built, Any]:
    """The wheel, how it was built, and the tables of the build requirements, from what `built_package` made."""
    own = mapping(item["tool"]["cogsmith"], where=f"{where}.{_OWN}")
    wheel = read(Wheel, own["wheel"], where=f"{where}.{_OWN}.wheel")
    kind = next((kind for kind in ("vcs", "archive", "directory", "sdist") if kind in item), "sdist")
    place = mapping(item.get(kind), where=f"{where}.{kind}")
    build = {**mapping(own.get("build"), where=f"{where}.{_OWN}.build"), "sha256": wheel.sha256}
    source = {
        "source": "git" if kind == "vcs" else kind,
        "url": place.get("url", place.get("path", "")),
        "subdirectory": place.get("subdirectory", ""),
        "commit": place.get("commit-id", ""),
        "filename": place.get("name", ""),
        "size": place.get("size", 0),
        "source-sha256": place.get("hashes", {}).get("sha256", ""),
    }
    known = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(Built)}
    given = {key: value for key, value in source.items() if value != known[key]}
    return wheel, read(Built, {**build, **given}, where=f"{where}.{_OWN}.build"), own.get("requires")
