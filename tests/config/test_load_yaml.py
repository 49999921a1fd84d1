"""`cog.yaml` as YAML: anchors, what is hostile or broken, and how the place is shown."""

from __future__ import annotations

import pytest
from load_problems import PATH

from builder.config import (
    load,
)
from builder.errors import ConfigError


def test_anchors_and_merges() -> None:
    text = "x: &b {python_version: 3.11, gpu: true}\nbuild:\n  <<: *b\n  gpu: false\n"
    config = load(text, path=PATH)
    assert (config.python_version, config.gpu) == ("3.11", False)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("a: b: c\n", "is not valid YAML"),
        ("a\tb: 1\n\t- x", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
        ("a: *nowhere\n", "is not valid YAML"),
        ("a: \x01\n", "is not valid YAML"),
        (BOMB, "aliases that expand without end"),
        ("a: &a [*a]\n", "aliases that expand without end"),
        ("[" * 100_000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [x]\n", "tag that is not supported"),
        ("a: !custom x\n", "tag that is not supported"),
        ("? [a]\n: b\n", "key that is not text"),
        ("#" * 1_000_001, "too large"),
    ],
)
def test_hostile_or_broken_yaml(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, path=PATH)
    assert message in caught.value.brief


def details(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, path=PATH)
    return f"{caught.value.details}\nhint: {caught.value.hint}"


def test_yaml_errors_point_at_the_place() -> None:
    where, line, mark, hint = details("build:\n  gpu: true: x\n").splitlines()
    assert where.startswith("line 2, column 12: ")
    assert line.index(":", line.index("true")) == len(mark) - 1
    assert hint == "hint: put quotes around a value that has a colon in it"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("build:\n\tgpu: true\n", "indent with spaces"),
        ("run: a.py:A\n---\nrun: b.py:B\n", "one document"),
        ("run: *name\n", "needs an anchor"),
    ],
)
def test_yaml_errors_say_what_to_do(text: str, hint: str) -> None:
    assert f"hint: {hint}" in details(text) or hint in details(text).splitlines()[-1]


def test_problems_show_their_line() -> None:
    said = details("build:\r\n  # why\r\n  gpu: maybe\r\nrun: [\r\n  1]\r\n").splitlines()
    assert said == [
        'build.gpu: must be true or false (got "maybe", line 3, column 8)',
        "      gpu: maybe",
        "           ^",
        "run: must be a string or number (line 4, column 6)",
        "    run: [",
        "         ^",
        "hint: correct what is named above, and try again",
    ]


def test_long_lines_are_cut_around_the_place() -> None:
    where, line, mark, _ = details(
        "x: {" + "a: 1, " * 1000 + "}\nimage: " + "é" * 500 + "\0" + "é" * 500 + "\n"
    ).splitlines()
    assert where.startswith("line 2, column 508: the character U+0000 is not allowed")
    assert len(line) < 200
    assert line[len(mark) - 1] == "\0"


def test_a_merge_of_no_mapping() -> None:
    with pytest.raises(ConfigError, match="merges"):
        load("x: &x [1]\nbuild:\n  <<: *x\n", path=PATH)
