"""How a client wants to be answered: the headers `Prefer` (RFC 7240) and `Accept`.  Standard library only."""

from __future__ import annotations

import re
from typing import Dict, Optional

WAIT_MAX = 86_400.0
"""Longest wait, in seconds, that a client is granted before it gets the state that there is."""

_PART = re.compile(
    r"""\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)              # a token
        (?:\s*=\s*(?P<value>"(?:[^"\\]|\\.)*"|[^\s,;"]*))?     # a word
        (?P<rest>(?:\s*;(?:"(?:[^"\\]|\\.)*"|[^,"])*)?)        # parameters, which none of ours has
        \s*(?:,|\Z)""",
    re.VERBOSE,
)


def preferences(header: str) -> Dict[str, str]:
    """The preferences of a `Prefer` header, names in lower case; of one given twice the first (RFC 7240, section 2).

    What cannot be read is skipped up to the next comma.
    """
    found: Dict[str, str] = {}
    at = 0
    while at < len(header):
        match = _PART.match(header, at)
        if match is None or match.end() == at:
            comma = header.find(",", at)
            if comma < 0:
                break
            at = comma + 1
            continue
        value = match.group("value") or ""
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found.setdefault(match.group("name").lower(), value)
        at = match.end()
    return found


def wait_of(given: Dict[str, str]) -> Optional[float]:
    """The seconds of `wait=N`, None if there is none or it is not a number of seconds."""
    text = given.get("wait", "")
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:12]), WAIT_MAX)


def wants_events(accept: str) -> bool:
    """Whether an `Accept` header names `text/event-stream`, and not to refuse it (`q=0`)."""
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind == "text/event-stream":
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return False
