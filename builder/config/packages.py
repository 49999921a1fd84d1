"""`build.system_packages`, word by word.  Pure: nothing but a Debian package's name gets as far as any apt.

Cog's Dockerfile hands these lines to `apt-get install` through a shell, so one may hold several names, or an option.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from builder.errors import ConfigError
from builder.frozen import frozen

_WANTED = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::(?P<arch>[a-z0-9-]+))?(?:=(?P<version>[A-Za-z0-9.+:~*-]+)|/(?P<suite>[a-z0-9./-]+))?"
)
_OPTIONS = {"--no-install-recommends": False, "--install-recommends": True}
_IDLE = {"-y", "--yes", "--assume-yes", "-q", "-qq", "-qqy"}
"""Options that say what is done anyway."""


@frozen
class Wanted:
    """One package as the user asks for it; `text` is what apt is told."""

    text: str
    name: str
    architecture: str = ""
    version: str = ""
    suite: str = ""


@frozen
class Request:
    """All that is asked for, each once; `recommends` is None where apt's own configuration decides."""

    packages: tuple[Wanted, ...]
    recommends: bool | None = None


def read(lines: Iterable[str]) -> Request:
    """What the lines of `build.system_packages` ask for; a `ConfigError` with all that are no names of packages."""
    packages: dict[str, Wanted] = {}
    recommends: bool | None = None
    wrong: list[str] = []
    for word in (word for line in lines for word in line.split()):
        found = _WANTED.fullmatch(word)
        if word in _OPTIONS:
            recommends = _OPTIONS[word]
        elif word in _IDLE:
            pass
        elif found is None or found["name"].endswith("-"):
            wrong.append(f"`{word}`{_why(word)}")
        else:
            groups = {key: found[key] or "" for key in ("name", "version", "suite")}
            packages[word] = Wanted(text=word, architecture=found["arch"] or "", **groups)
    if wrong:
        raise ConfigError(
            "`build.system_packages` names what is no Debian package",
            details="\n".join(wrong),
            hint="write `name`, `name=version`, `name/suite` or `name:architecture`, one a line",
        )
    return Request(packages=tuple(packages[text] for text in sorted(packages)), recommends=recommends)


def _why(word: str) -> str:
    if word.startswith("-"):
        return ": of apt's options, `--no-install-recommends` alone is understood"
    if "/" in word and (word.endswith(".deb") or "://" in word):
        return ": a package file is installed by a command of `build.run`"
    if word.endswith("-"):
        return ": a minus at the end would remove it: do that in `build.run`"
    if word != word.lower():
        return ": names of packages have no capital letters"
    if any(sign in word for sign in "*?^$"):
        return ": patterns are not for a file that is to give the same every time"
    return ""
