"""Values of `environment` as an `ENV` line of a Dockerfile reads them: Cog writes them there as they are.

Quotes go, a backslash keeps the next character, `$NAME`, `${NAME}`, `${NAME:-else}` and `${NAME:+then}` are replaced.
A space is kept, which would split the value for Cog.  Pure.  Imports nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-+])(?P<word>[^}]*))?\})"
)


def is_balanced(value: str) -> bool:
    """Whether each quote that opens is closed."""
    return _scan(value, variables={})[1]


def expand(value: str, *, variables: Mapping[str, str]) -> str:
    """What the variable holds; `variables` are those set before it, and others are empty."""
    return _scan(value, variables=variables)[0]


def _scan(value: str, *, variables: Mapping[str, str]) -> tuple[str, bool]:
    made: list[str] = []
    quote = ""
    at = 0
    while at < len(value):
        character = value[at]
        following = value[at + 1 : at + 2]
        if quote == "'" or character not in "'\"\\$":
            quote = "" if character == quote else quote
            made.append("" if character == "'" and not quote else character)
        elif character == "\\" and following and (not quote or following in '"$\\'):
            made.append(following)
            at += 1
        elif character == "$" and (match := _REFERENCE.match(value, at)):
            made.append(_replaced(match, variables=variables))
            at = match.end() - 1
        elif character == quote:
            quote = ""
        elif character in "'\"" and not quote:
            quote = character
        else:
            made.append(character)
        at += 1
    return "".join(made), not quote


def _replaced(match: re.Match[str], *, variables: Mapping[str, str]) -> str:
    held = variables.get(match["plain"] or match["name"])
    how, word = match["how"] or "", match["word"] or ""
    counts = held is not None if not how.startswith(":") else bool(held)
    if how.endswith("-"):
        return held or "" if counts else expand(word, variables=variables)
    if how.endswith("+"):
        return expand(word, variables=variables) if counts else ""
    return held or ""
