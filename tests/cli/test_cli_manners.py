"""The command line as such: help, names, colour, progress, what a pipe and another locale make of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from builder import __version__
from builder.cli import COMMANDS, HIDDEN, LazyGroup, cli
from tests.conftest import ROOT, Cogsmith


def paths() -> list[list[str]]:
    """Every command and subcommand."""
    found: list[list[str]] = [[]]
    context = click.Context(cli)
    for name in (*COMMANDS, *HIDDEN):
        assert isinstance(cli, LazyGroup)
        command = cli.get_command(context, name)
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, below] for below in command.commands]
    return found


@pytest.mark.parametrize("path", paths(), ids=lambda path: " ".join(path) or "cogsmith")
def test_help_has_an_example_that_names_the_command(path: list[str]) -> None:
    """In process: the texts are the same, and nothing else of the command runs."""
    command: click.Command = cli
    context = click.Context(cli, info_name="cogsmith")
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    text = command.get_help(context)
    assert " ".join(text.split()).count(f"Example: cogsmith {' '.join(path)}".strip()) == 1
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"--{option.name} of {path} says nothing of itself"


@pytest.mark.parametrize("path", paths(), ids=lambda path: " ".join(path) or "cogsmith")
def test_the_manual_has_it(path: list[str]) -> None:
    """Every command and every flag is somewhere in docs/."""
    if path[:1] == ["login"] and not (ROOT / "docs" / "registries.md").exists():
        pytest.skip("the manual of registries is not there")
    manual = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
        assert re.search(rf"`([a-z]+ )?{name}\b", manual), name
    for option in command.params:
        if isinstance(option, click.Option):
            assert [name for name in option.opts if name in manual], option.opts


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["build", "--help"], ["image", "-h"], ["cache", "ls", "-h"]])
def test_help_is_data(cogsmith: Cogsmith, arguments: list[str]) -> None:
    done = cogsmith(*arguments)
    assert done.out.startswith("Usage: cogsmith")
    assert done.err == ""


def test_version(cogsmith: Cogsmith) -> None:
    assert cogsmith("--version").out == f"cogsmith version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["biuld"], "did you mean `build`?"),
        (["imgae", "ls"], "did you mean `image`?"),
        (["image", "inspekt"], "did you mean `inspect`?"),
        (["cache", "purne"], "did you mean `prune`?"),
        (["xyzzy"], "there is no command `xyzzy`"),
        (["build", "--platfrom=x"], "--platform"),
        (["--versoin"], "--version"),
    ],
)
def test_mistyped(cogsmith: Cogsmith, arguments: list[str], near: str) -> None:
    done = cogsmith(*arguments, ok=False)
    assert (done.code, done.out) == (2, "")
    assert near in done.err
    assert "--help" in done.err


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"COG_NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["terminal", "NO_COLOR", "COG_NO_COLOR", "dumb"],
)
def test_colour(fresh: Cogsmith, terminal: Callable[..., tuple[str, str]], env: dict[str, str], coloured: bool) -> None:
    out, seen = terminal(fresh, "image", "inspect", "absent", env=env)
    assert out == ""
    assert ("\x1b[31merror\x1b[0m: there is no image" in seen) == coloured
    assert ("\r\nerror: there is no image" in "\r\n" + seen.replace("\r\x1b[K", "")) == (not coloured)
    if env.get("TERM") == "dumb":
        assert "\x1b" not in seen


@pytest.mark.network
@pytest.mark.xdist_group("hello")
def test_progress_is_for_terminals(
    cogsmith: Cogsmith, terminal: Callable[..., tuple[str, str]], hello: str, tmp_path: Path
) -> None:
    out, seen = terminal(cogsmith, "image", "export", "hello", str(tmp_path / "one.tar"))
    assert out == ""
    assert re.search(r"\r\x1b\[K +\d+% [\d.]+ M?k?B of [\d.]+ MB  writing one.tar", seen)
    assert seen.endswith(f"\r\x1b[KExported hello:latest to {tmp_path}/one.tar\r\n\r\x1b[K")  # nothing is left of it
    done = cogsmith("image", "export", "hello", tmp_path / "two.tar")
    assert done.err == f"Exported hello:latest to {tmp_path}/two.tar\n"


def test_an_error_takes_the_place_of_the_progress(
    fresh: Cogsmith, terminal: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "broken.tar").write_bytes(os.urandom(20_000_000))
    _, seen = terminal(fresh, "image", "import", str(tmp_path / "broken.tar"), env={"NO_COLOR": "1"})
    assert "\r\x1b[Kerror: " in seen


def test_a_closed_pipe_is_no_traceback(fresh: Cogsmith) -> None:
    command = f"{sys.executable} -m builder.cli image ls --json | true"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=fresh.env(), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_relative_cache_is_none(fresh: Cogsmith, tmp_path: Path) -> None:
    """XDG Base Directory Specification: a relative path is to be ignored."""
    (tmp_path / "here").mkdir()
    env = {"XDG_CACHE_HOME": "relative", "HOME": str(tmp_path / "home")}
    out = fresh("cache", "ls", cwd=tmp_path / "here", env=env).out
    assert out.rstrip().endswith(f"{tmp_path}/home/.cache/cogsmith")
    assert not list((tmp_path / "here").iterdir())


def test_cache_that_cannot_be_written(fresh: Cogsmith, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = fresh("image", "ls", env={"XDG_CACHE_HOME": str(tmp_path / "file")}, ok=False)
    assert done.code == 7
    assert done.err.startswith("error: ")
