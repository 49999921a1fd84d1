"""`.dockerignore`: the rules of its documentation, and what moby/patternmatcher does where that is silent."""

from __future__ import annotations

import pytest

from builder.errors import ConfigError
from builder.resolve.ignore import Ignore, parse


def left_out(rules: Ignore, path: str) -> bool:
    """Walk down to `path` as a scan does."""
    parts = path.split("/")
    parent = None
    out = False
    for i in range(len(parts)):
        out, parent = rules.match("/".join(parts[: i + 1]), parent)
    return out


@pytest.mark.parametrize(
    ("pattern", "out", "kept"),
    [
        # the documentation's own examples
        ("*/temp*", ["somedir/temporary.txt", "somedir/temp", "d/temp/x"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temporary.txt"], ["a/temp", "a/b/c/temp"]),
        ("temp?", ["tempa", "tempb"], ["temp", "tempab", "a/tempa", "temp/"]),
        ("**/*.go", ["a.go", "x/y/a.go"], ["a.go.txt"]),
        ("*.md", ["README.md"], ["docs/README.md"]),
        # leading slash, dot and trailing slash mean nothing
        ("/foo/bar", ["foo/bar", "foo/bar/x"], ["x/foo/bar", "foo"]),
        ("//foo", ["foo"], ["a/foo"]),
        ("./foo/", ["foo", "foo/x"], ["foobar"]),
        ("a/../b", ["b"], ["a"]),
        ("../b", [], ["b"]),
        # a folder takes everything below it
        ("node_modules", ["node_modules", "node_modules/a/b"], ["x/node_modules"]),
        # the flavours of **
        ("**", ["a", "a/b"], []),
        ("**/foo", ["foo", "a/foo", "a/b/foo", "foo/x"], ["afoo", "foo2"]),
        ("**foo", ["foo", "afoo", "a/bfoo"], ["food"]),
        ("foo/**", ["foo/a", "foo/a/b"], ["foo", "foob"]),
        ("foo**", ["foo", "foobar", "foo/x"], ["a/foo"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a", "b", "a/xb"]),
        ("**/a*/**", ["a1/x", "d/a2/x/y"], ["a1"]),
        # special characters
        ("[abc].txt", ["a.txt", "c.txt"], ["d.txt", "ab.txt"]),
        ("[a-c]x", ["bx"], ["dx"]),
        ("[^a-c]x", ["dx"], ["bx"]),
        (r"[\]]x", ["]x"], ["x"]),
        (r"\*x", ["*x"], ["ax"]),
        (r"a\\b", ["a\\b"], ["ab"]),
        ("a.b+(c){d}$|", ["a.b+(c){d}$|"], ["aab+(c){d}$|"]),
        ("ü*", ["über"], ["uber"]),
        ("a b", ["a b"], ["a"]),
        # comments and spaces
        ("#a", [], ["#a", "a"]),
        (" #a", ["#a"], ["a"]),
        ("  a  ", ["a"], []),
        ("\ufeffa", ["a"], []),
        (".", [], ["a"]),
        ("/", [], ["a"]),
    ],
)
def test_pattern(pattern: str, out: list[str], kept: list[str]) -> None:
    rules = parse(pattern + "\n")
    assert [path for path in out if not left_out(rules, path)] == []
    assert [path for path in kept if left_out(rules, path)] == []


@pytest.mark.parametrize(
    ("text", "out", "kept"),
    [
        ("*.md\n!README.md\n", ["a.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md\n", ["README-secret.md", "x.md"], ["README.md", "README-a.md"]),
        ("*.md\nREADME-secret.md\n!README*.md\n", ["x.md"], ["README.md", "README-secret.md"]),
        ("!a\n", [], ["a"]),
        ("*\n!src\n", ["x", "x/y"], ["src", "src/deep/file"]),
        ("*\n!src\nsrc/*.log\n", ["src/a.log", "b"], ["src/a", "src/d/a.log"]),
        ("a\n!a/b\n", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("a\n!a/b\na/b/c\n", ["a/b/c"], ["a/b/d"]),
        ("**\n!**/*.py\n", ["a", "d/x.txt"], ["a.py", "d/e/a.py"]),
        ("a\r\n\r\n!a/b\r\n", ["a/c"], ["a/b"]),
        ("a\n! a/b\n", ["a/c"], ["a/b"]),
        ("a\n!/a/b\n", ["a/c"], ["a/b"]),
    ],
)
def test_last_match_wins(text: str, out: list[str], kept: list[str]) -> None:
    rules = parse(text)
    assert [path for path in out if not left_out(rules, path)] == []
    assert [path for path in kept if left_out(rules, path)] == []


@pytest.mark.parametrize("pattern", ["[", "[a", "[]a]", "[-x]", "a\\", "!", "! ", "[z-a]"])
def test_malformed(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"ok\n{pattern}\n")
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "folder", "expected"),
    [
        ("a\n!b", "a", False),
        ("a\n!a/b", "a", True),
        ("a\n!a/b/c", "a/b", True),
        ("a\n!a/b/c", "a/x", False),
        ("a\n!**/x", "a/b", True),
        ("a\n!a*/x", "a/b", True),
        ("a\n!b*/x", "a", False),
        ("a\n", "a", False),
    ],
)
def test_may_keep_below(text: str, folder: str, expected: bool) -> None:
    assert parse(text).may_keep_below(folder) is expected
