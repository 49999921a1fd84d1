from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.resolve.debian.version import compare, satisfies, sort_key

ORDERED = [
    "0~~", "0~", "0", "0.0~rc1", "0.0-0~1", "0.0", "0.0-0.1", "0.0+b1", "0.1", "1.0~beta1~svn1245", "1.0~beta1", "1.0",
    "1.0-1", "1.0-1+b1", "1.0-1+b10", "1.0-1+deb12u2", "1.0-1+deb12u10", "1.0-1.1", "1.0a", "1.0+dfsg", "1.0.1",
    "1.2.3",     "1.10", "2.36-9+deb12u13", "2.36-9+deb12u14", "20200120-3.1", "1:0.1~", "1:0.1", "1:1.0-2", "2:0",
]  # fmt: skip
"""From old to new."""

EQUAL = [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.00", "1.0"), ("1.01-01", "1.1-1"), ("1.0-", "1.0")]


def test_versions_sort_from_old_to_new() -> None:
    assert sorted(set(ORDERED), key=sort_key) == ORDERED
    for i, old in enumerate(ORDERED):
        assert [compare(old, new) for new in ORDERED] == [(i > j) - (i < j) for j in range(len(ORDERED))]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal_versions(left: str, right: str) -> None:
    assert compare(left, right) == compare(right, left) == 0


def test_dpkg_agrees(tool: Callable[[str], str]) -> None:
    dpkg = tool("dpkg")
    for old, new in itertools.pairwise(ORDERED):
        assert subprocess.run([dpkg, "--compare-versions", old, "lt", new], check=False).returncode == 0, (old, new)
    for left, right in EQUAL[:-1]:  # dpkg warns of an empty revision
        assert subprocess.run([dpkg, "--compare-versions", left, "eq", right], check=False).returncode == 0


versions = st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,8}(-[0-9a-z.+~]{1,4})?", fullmatch=True)


@given(versions, versions, versions)
def test_it_is_an_order(a: str, b: str, c: str) -> None:
    assert compare(a, b) == -compare(b, a)
    assert compare(a, a) == 0
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


@pytest.mark.parametrize(
    ("version", "operator", "wanted", "fulfilled"),
    [
        ("1.0", "", "", True), ("1.0", ">=", "1.0~", True), ("1.0", "<<", "1.0", False), ("1.0", "<=", "1.0", True),
        ("1.0", ">>", "1.0~rc", True), ("1:1", "=", "1", False), ("1.0-1", "=", "1.0-1", True),
    ],
)  # fmt: skip
def test_constraints(version: str, operator: str, wanted: str, fulfilled: bool) -> None:
    assert satisfies(version, operator=operator, wanted=wanted) is fulfilled
