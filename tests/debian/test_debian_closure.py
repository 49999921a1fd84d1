from __future__ import annotations

import pytest

from builder.errors import ResolveError
from builder.resolve.debian.closure import closure
from builder.resolve.debian.index import Index
from builder.resolve.debian.relations import Relation, parse


def index(*paragraphs: str) -> Index:
    """An index of packages written `name version; Field: value; ...`."""
    found = Index()
    text = ""
    for paragraph in paragraphs:
        head, *fields = [part.strip() for part in paragraph.split(";")]
        name, version = head.split()
        text += "\n".join([f"Package: {name}", f"Version: {version}", *fields]) + "\n\n"
    found.add(bytearray(text.encode()), mirrors=("m",))
    return found


def names(found: Index, *wanted: str) -> list[str]:
    return sorted(closure(found, wanted=wanted))


def test_essential_packages_and_what_they_need() -> None:
    found = index(
        "dpkg 1; Essential: yes; Pre-Depends: libc6 (>= 2.14), tar",
        "libc6 2.36; Depends: libgcc-s1; Recommends: libidn2-0",
        "libgcc-s1 12", "tar 1", "libidn2-0 2", "vim 9",
    )  # fmt: skip
    assert names(found) == ["dpkg", "libc6", "libgcc-s1", "tar"]


def test_the_first_alternative_that_there_is() -> None:
    found = index("a 1; Depends: gone | b (>= 3) | c | d", "b 2", "c 1", "d 1")
    assert names(found, "a") == ["a", "c"]


def test_an_alternative_that_is_there_already_will_do() -> None:
    found = index("a 1; Depends: b | c", "b 1", "c 1")
    assert names(found, "a", "c") == ["a", "c"]
    assert names(found, "a") == ["a", "b"]


def test_virtual_packages() -> None:
    found = index(
        "a 1; Depends: awk, mail (>= 2)",
        "mawk 1; Provides: awk; Priority: required", "gawk 1; Provides: awk; Priority: optional",
        "old 1; Provides: mail (= 1)", "plain 1; Provides: mail", "new 1; Provides: mail (= 2.5), other",
    )  # fmt: skip
    assert names(found, "a") == ["a", "mawk", "new"]


def test_a_provider_that_was_superseded_provides_no_longer() -> None:
    found = index("a 1; Depends: awk", "mawk 1; Provides: awk", "mawk 2; Conflicts: gawk", "gawk 1; Provides: awk")
    assert names(found, "a") == ["a", "gawk"]


def test_a_package_that_is_no_longer_essential() -> None:
    assert names(index("e2fs 1; Essential: yes", "e2fs 2", "tar 1; Essential: yes")) == ["tar"]


def test_an_older_version_does_not_win() -> None:
    found = index("a 1.0+deb12u10", "a 1.0+deb12u9; Depends: gone")
    assert closure(found, wanted=["a"])["a"].version == "1.0+deb12u10"


@pytest.mark.parametrize(
    ("paragraphs", "message"),
    [
        (["b 1"], "`a` is not in the index"),
        (["a 1; Depends: b (>= 2) | c", "b 1"], r"`a` needs `b \(>= 2\) \| c`"),
        (["a 1; Depends: b", "b 1; Conflicts: a (<< 2)"], "`b` and `a` exclude each other"),
        (["a 1; Depends: b; Breaks: v", "b 1; Provides: v"], "`a` and `b` exclude each other"),
    ],
)
def test_what_cannot_be(paragraphs: list[str], message: str) -> None:
    with pytest.raises(ResolveError, match=message):
        names(index(*paragraphs), "a")


def test_relations() -> None:
    assert parse(
        "a (>= 1:2~) | b:any (<<3), c [amd64]".replace(" [amd64]", ""),
    ) == [
        [Relation(name="a", operator=">=", version="1:2~"), Relation(name="b", operator="<<", version="3")],
        [Relation(name="c")],
    ]
    assert parse(" a,\n b ,") == [[Relation(name="a")], [Relation(name="b")]]
    with pytest.raises(ValueError, match="is not a package relation"):
        parse("a (about 1)")
