"""Fields that name other packages (Debian Policy 7.1): `a (>= 1) | b:any, c`.  Pure; stdlib only."""

from __future__ import annotations

import dataclasses
import re

_RELATION = re.compile(
    r"""\s*(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)
        (?::(?P<arch>[a-z0-9-]+))?
        \s*(?:\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?\s*$""",
    re.VERBOSE,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One package named, with the versions that will do (`operator` empty: all)."""

    name: str
    operator: str = ""
    version: str = ""


def parse(field: str) -> list[list[Relation]]:
    """The conjunction of alternatives that a field spells out.  `ValueError` for what is no relation.

    Architecture qualifiers (`:any`, `:native`) are dropped: only one architecture is ever installed here.
    """
    return [[_relation(text) for text in group.split("|")] for group in field.split(",") if group.strip()]


def _relation(text: str) -> Relation:
    found = _RELATION.match(text)
    if found is None:
        raise ValueError(f"`{text.strip()}` is not a package relation")
    operator = {"<": "<=", ">": ">="}.get(found["operator"] or "", found["operator"] or "")
    return Relation(name=found["name"], operator=operator, version=found["version"] or "")
