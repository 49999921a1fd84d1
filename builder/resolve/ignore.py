"""`.dockerignore` as BuildKit reads it (moby/patternmatcher): `*`, `**`, `?`, `[...]`, `!`, the last match wins.

A pure function of text and paths: no I/O.  Imports `errors` only.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import TypeAlias

from builder.errors import ConfigError
from builder.frozen import frozen

FILE_NAME = ".dockerignore"

Matched: TypeAlias = tuple[bool, ...]
"""For a directory: which of the patterns it, or a directory above it, has matched."""

_SPECIAL = frozenset("*?[\\")


@frozen
class Pattern:
    """One line.  `keeps` is true for `!` lines; `head` is the literal text before the first wildcard."""

    keeps: bool
    regex: re.Pattern[str]
    head: str
    literal: bool

    def can_match_below(self, folder: str) -> bool:
        """Whether some path below `folder` could match."""
        inside = f"{folder}/"
        return self.head.startswith(inside) or (not self.literal and inside.startswith(self.head))


@frozen
class Ignore:
    """The patterns of a file, in order."""

    patterns: tuple[Pattern, ...] = ()

    def match(self, path: str, parent: Matched | None) -> tuple[bool, Matched]:
        """Whether `path` (relative, `/`-separated) is left out, and what its children need to know.

        `parent` is what this returned for the directory that holds `path`, `None` at the top.  A pattern that matches a
        directory matches everything below it.
        """
        out = False
        matched = []
        for i, pattern in enumerate(self.patterns):
            hit = parent is not None and parent[i]
            # As upstream, a pattern that could not change the outcome is not tried.
            if not hit and pattern.keeps == out:
                hit = pattern.regex.fullmatch(path) is not None
            matched.append(hit)
            if hit:
                out = not pattern.keeps
        return out, tuple(matched)

    def may_keep_below(self, folder: str) -> bool:
        """Whether a `!` line could bring back something below a folder that is left out."""
        return any(pattern.keeps and pattern.can_match_below(folder) for pattern in self.patterns)


def parse(text: str) -> Ignore:
    """Read the text of a `.dockerignore`; a `ConfigError` names the line of a malformed pattern."""
    return Ignore(patterns=tuple(_patterns(text.removeprefix("\ufeff").splitlines())))


def _patterns(lines: Iterable[str]) -> Iterable[Pattern]:
    for number, raw in enumerate(lines, start=1):
        # Upstream looks for `#` before it trims: an indented `#` is a pattern.
        line = "" if raw.startswith("#") else raw.strip()
        if not line:
            continue
        keeps = line.startswith("!")
        body = line[1:].strip() if keeps else line
        if not body:
            raise _malformed(number, raw)
        # A leading slash means nothing: every pattern begins at the project's root.
        clean = posixpath.normpath(body).lstrip("/")
        if clean in {"", "."}:
            continue
        try:
            regex = re.compile(_regex(clean), re.DOTALL)
        except (ValueError, re.error) as problem:
            raise _malformed(number, raw) from problem
        cut = next((i for i, char in enumerate(clean) if char in _SPECIAL), len(clean))
        yield Pattern(keeps=keeps, regex=regex, head=clean[:cut], literal=cut == len(clean))


def _malformed(number: int, line: str) -> ConfigError:
    return ConfigError(f"`{FILE_NAME}` has a malformed pattern", details=f"line {number}: {line.strip()}")


def _regex(pattern: str) -> str:
    """The expression that a whole path must match; `ValueError` for a malformed pattern."""
    if pattern.startswith("**"):
        rest = pattern[2:]
        if not _SPECIAL.intersection(rest):
            # `**/foo` is foo at any depth; `**foo` any path that ends so.
            return f".*{re.escape(rest)}" + (f"|{re.escape(rest[1:])}" if rest.startswith("/") else "")
    parts: list[str] = []
    i = 0
    while i < len(pattern):
        char = pattern[i]
        i += 1
        if pattern.startswith("**", i - 1):
            i += 1
            if pattern.startswith("/", i):
                i += 1
            parts.append(".*" if i == len(pattern) else "(?:.*/)?")
        elif char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            expression, i = _character_class(pattern, i)
            parts.append(expression)
        elif char == "\\":
            if i == len(pattern):
                raise ValueError(pattern)
            parts.append(re.escape(pattern[i]))
            i += 1
        else:
            parts.append(re.escape(char))
    return "".join(parts)


def _character_class(pattern: str, i: int) -> tuple[str, int]:
    """The class that begins after `[` at `i`, and where it ends (`path/filepath.Match` gives the grammar)."""
    negated = pattern.startswith("^", i)
    i += negated
    ranges: list[str] = []
    while not (pattern.startswith("]", i) and ranges):
        low, i = _class_character(pattern, i)
        high = low
        if pattern.startswith("-", i):
            high, i = _class_character(pattern, i + 1)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{'^' if negated else ''}{''.join(ranges)}]", i + 1


def _class_character(pattern: str, i: int) -> tuple[str, int]:
    if pattern.startswith("\\", i):
        i += 1
    elif pattern.startswith(("-", "]"), i):
        raise ValueError(pattern)
    if i >= len(pattern):
        raise ValueError(pattern)
    return pattern[i], i + 1
