"""The host's apt sources, read for the mirrors of Debian that they name.  Imports nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

RELEASES = (
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
)
"""Names by which a source says that it is Debian's archive and not another one."""

_SCHEMES = ("http://", "https://", "file:")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>[^#]*)")


def host_mirrors(folder: Path) -> tuple[str, ...]:
    """Base URLs of the Debian mirrors in an apt configuration folder (`/etc/apt`), in order, each once.

    Reads `sources.list`, `sources.list.d/*.list` (one line each) and `sources.list.d/*.sources` (deb822), as
    sources.list(5) describes them.  Entries of other archives, disabled ones and schemes other than http, https and
    file are left out; unreadable files too.
    """
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    found: dict[str, None] = {}
    for file in files:
        if file.suffix not in (".list", ".sources"):
            continue
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        entries = _deb822(text) if file.suffix == ".sources" else _one_line(text)
        for uri, suites, components in entries:
            if uri.startswith(_SCHEMES) and "main" in components and any(_is_debian(suite) for suite in suites):
                found[uri.rstrip("/")] = None
    return tuple(found)


def _is_debian(suite: str) -> bool:
    return re.split(r"[-/]", suite)[0] in RELEASES


def _one_line(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for line in text.splitlines():
        found = _ONE_LINE.match(line.strip())
        if found:
            yield found["uri"], [found["suite"]], found["components"].split()


def _deb822(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*(?:\n[ \t]*)*\n", "\n".join(lines) + "\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] = fields.get(name, "") + " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            yield uri, fields.get("suites", "").split(), fields.get("components", "").split()
