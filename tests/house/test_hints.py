"""What messages and documents tell the reader to type exists: commands and options of ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from builder.cli import cli

ROOT = Path(__file__).parents[2]
QUOTED = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OTHERS = frozenset(
    {
        "--extra-index-url",
        "--find-links",
        "--flag",
        "--hash",
        "--no-cache-dir",
        "--no-install-recommends",
        "--security-opt",
        "--store",
    }
)
"""Options of pip, apt, Nix and container engines that messages name alone."""


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


def options_of(command: click.Command) -> set[str]:
    return {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, ...], set[str]]:
    found = {words: options_of(command) for words, command in commands(cli)}
    for name in ("debug", "predict", "train"):  # not listed
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        found[(name,)] = options_of(command)
    return {**found, (): options_of(cli) | {"--version"}}


def wrong(text: str, *, known: dict[tuple[str, ...], set[str]]) -> str:
    """What is wrong with a quoted command line or option of ours; empty if nothing, or if it is not ours."""
    words = text.split()
    if words[0] == "cogsmith":
        names = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
        name = next((tuple(names[:n]) for n in (2, 1) if tuple(names[:n]) in known and names), ())
        if names and not name and not words[1].startswith("-"):
            return f"no command `{names[0]}`"
        given = known[name] | known[()]
        return ", ".join(option for option in OPTION.findall(text) if option not in given)
    if OPTION.match(words[0]):
        every = OTHERS.union(*known.values())
        return "" if words[0].partition("=")[0] in every else words[0]
    return ""


def told() -> Iterator[tuple[str, str]]:
    """Places, and what is quoted there: all of it in messages, command lines of ours in documents."""
    for path in sorted((ROOT / "builder").rglob("*.py")):
        tree = ast.parse(path.read_text())
        plain = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in plain:
                for quoted in QUOTED.findall(node.value):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", quoted
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for quoted in QUOTED.findall(path.read_text()):
            if quoted.startswith("cogsmith "):
                yield path.name, quoted
        for line in re.findall(r"^\$ (cogsmith .*)", path.read_text(), re.MULTILINE):
            yield path.name, line.partition("#")[0].partition(" && ")[0].strip()


def test_what_messages_tell_to_type_exists(known: dict[tuple[str, ...], set[str]]) -> None:
    found = list(told())
    assert sum(quoted.startswith("cogsmith ") for _, quoted in found) > 50
    problems = [f"{place}: `{quoted}`: {problem}" for place, quoted in found if (problem := wrong(quoted, known=known))]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("text", ["cogsmith bild", "cogsmith build --compression gzip", "--compression gzip"])
def test_and_what_does_not_is_found(text: str, known: dict[tuple[str, ...], set[str]]) -> None:
    assert wrong(text, known=known)
