"""Debian version numbers: order and constraints.  Pure; stdlib only."""

from __future__ import annotations

import functools


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as `dpkg --compare-versions` orders the two (Debian Policy 5.6.12)."""
    a, b = _split(left), _split(right)
    if a[0] != b[0]:
        return -1 if a[0] < b[0] else 1
    return _compare_part(a[1], b[1]) or _compare_part(a[2], b[2])


sort_key = functools.cmp_to_key(compare)
"""Key function that sorts versions from old to new."""


def satisfies(version: str, *, operator: str, wanted: str) -> bool:
    """Whether `version` fulfils `(operator wanted)` of a relation; `operator` is one of `<< <= = >= >>`, or empty."""
    if not operator:
        return True
    order = compare(version, wanted)
    return {"<<": order < 0, "<=": order <= 0, "=": order == 0, ">=": order >= 0, ">>": order > 0}[operator]


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return (int(epoch) if epoch.isdigit() else 0), upstream, revision


def _order(char: str) -> int:
    # `~` sorts before the end of a part, letters before everything else.
    if char == "~":
        return -1
    if char.isalpha():
        return ord(char)
    return ord(char) + 256


def _compare_part(left: str, right: str) -> int:
    i = j = 0
    while i < len(left) or j < len(right):
        while (i < len(left) and not left[i].isdigit()) or (j < len(right) and not right[j].isdigit()):
            a = _order(left[i]) if i < len(left) and not left[i].isdigit() else 0
            b = _order(right[j]) if j < len(right) and not right[j].isdigit() else 0
            if a != b:
                return -1 if a < b else 1
            i += i < len(left)
            j += j < len(right)
        start_i, start_j = i, j
        while i < len(left) and left[i].isdigit():
            i += 1
        while j < len(right) and right[j].isdigit():
            j += 1
        first, second = int(left[start_i:i] or "0"), int(right[start_j:j] or "0")
        if first != second:
            return -1 if first < second else 1
    return 0
