"""`run`, and its older forms `predict` and `train`.

Until 2025, `cog run COMMAND` ran a command in the image, which is `exec` today.  Scripts and notes still say it, so
`run` understands both: `wants_command` holds the rule.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from builder.cli.completion import ImageName
from builder.cli.console import Console
from builder.cli.exec import run_command
from builder.cli.group import GLOBAL_FLAGS, Command
from builder.cli.options import BuildOptions, project_options
from builder.cli.predicting import Asked, carry_out
from builder.cli.running import engine_option, env_option, gpus_option
from builder.engine.server import SETUP_TIMEOUT

F = TypeVar("F", bound=Callable[..., Any])
PREDICTING = frozenset({"given", "as_json", "path", "with_token", "setup_timeout"})
"""Options that only a prediction has."""
PROGRAMS = frozenset(
    [
        "python",
        "python3",
        "pip",
        "pip3",
        "uv",
        "sh",
        "bash",
        "env",
        "ls",
        "cat",
        "which",
        "nvidia-smi",
        "jupyter",
        "make",
    ]
)
"""Words that, alone, are a program and not an image."""


def inputs_options(function: F) -> F:
    """Inputs, output and container of `run`, `predict` and `train`."""
    for option in (
        gpus_option,
        engine_option,
        env_option,
        click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Where the output goes."),
        click.option(
            "-i", "--input", "given", multiple=True, metavar="NAME=VALUE", help="An input; NAME=@PATH gives a file."
        ),
    ):
        function = option(function)
    return function


def prediction_options(function: F) -> F:
    """What only predictions have."""
    for option in (
        click.option(
            "--setup-timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=SETUP_TIMEOUT,
            show_default=True,
            help="Seconds for the model's setup.",
        ),
        click.option("--use-replicate-token", "with_token", is_flag=True, help="Give the model REPLICATE_API_TOKEN."),
        click.option(
            "--json", "as_json", metavar="JSON|@FILE|-", help="All inputs as one JSON object; the answer as JSON."
        ),
    ):
        function = option(function)
    return function


def wants_command(words: Sequence[str], *, predicting: bool, is_image: Callable[[str], bool]) -> bool:
    """Whether `run WORD...` is the old form that runs a command; `words` begin with the first that is no option.

    It is a prediction where an option before the words is one of a prediction's (`predicting`), where the first word
    holds a `=` (a forgotten `-i`) or names an image: one of the store (`is_image`), or one with a registry, tag or
    digest.  It is a command where the first word is a path in this folder, and where it is a usual program.
    Otherwise the words after it decide: where they begin with one of `run`'s options for predictions that has a
    usable value, or where there are none, it is an image, and a command where there are any others.
    """
    if not words or predicting:
        return False
    first, rest = words[0], words[1:]
    if "=" in first or is_image(first):
        return False
    here = "/" in first and os.path.isfile(first)  # noqa: PTH113 - raises nothing for a name that is too long
    if here or first in PROGRAMS or first.startswith(("/", "./", "../")):
        return True
    if "@sha256:" in first or ":" in first or "." in first.split("/")[0] or first.startswith("localhost/"):
        return False
    return bool(rest) and not _is_prediction(rest)


def _is_prediction(words: Sequence[str]) -> bool:
    """Whether these words, after a name, are options of a prediction, perhaps after those that every command has."""
    words = list(itertools.dropwhile(GLOBAL_FLAGS.__contains__, words)) or words
    name, equals, value = words[0].partition("=")
    if name in ("-i", "--input"):
        return "=" in (value if equals else words[1] if len(words) > 1 else "")
    shown = [option for option in run.params if isinstance(option, click.Option) and not option.hidden]
    names = {name for option in shown for name in (*option.opts, *option.secondary_opts)} | {"-h", "--help"}
    return name in names or name.startswith("-i")


class RunCommand(Command):
    """`run`: options as everywhere for a prediction; for a command, all after its name is the command's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; a command's words go to `ctx.meta`."""
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = ctx.allow_interspersed_args = False
        found, words, order = parser.parse_args(list(self.plain(args, ctx=ctx)))
        ctx.allow_interspersed_args = True
        words = [word for word in (found.get("reference"),) if isinstance(word, str)] + words  # else: not given
        before = args[: len(args) - len(words)]
        dashed = bool(words) and before[-1:] == ["--"]
        predicting = any(option.name in PREDICTING for option in order)
        if ctx.resilient_parsing:  # a shell asks what could come next
            return super().parse_args(ctx, args)
        if dashed or wants_command(words, predicting=predicting, is_image=_is_image):
            ctx.meta["command"] = tuple(words)
            args = before[:-1] if dashed else before
        return super().parse_args(ctx, args)


def _is_image(word: str) -> bool:
    from builder.cli.settings import read
    from builder.errors import ConfigError
    from builder.store import Store

    try:
        return Store.open(read().store_root).image(word) is not None
    except ConfigError:  # no reference
        return False


@click.command(
    cls=RunCommand,
    epilog="Example: cogsmith run my-model -i prompt='a cat' -i image=@cat.jpg -o result.png",
)
@click.argument("reference", metavar="[IMAGE]", required=False, type=ImageName())
@inputs_options
@prediction_options
@click.option("-p", "--publish", multiple=True, hidden=True, help="A port of the command, as for `exec`.")
@project_options
@click.pass_context
def run(ctx: click.Context, /, *, publish: tuple[str, ...], options: BuildOptions, **values: Any) -> None:
    """Run one prediction in IMAGE, or in the image of the current folder's project, which is built first.

    Its form of old, `run COMMAND...`, still runs a command: see `exec`.
    """
    command = ctx.meta.get("command")
    if command is None:
        ctx.exit(carry_out(Asked(**values, debug=bool(ctx.obj)), options=options))
    Console().warn(f"`cogsmith run {command[0]}` runs a command: today's name for that is `cogsmith exec`")
    code = run_command(
        command,
        reference=None,
        env=values["env"],
        gpus=values["gpus"],
        engine=values["engine_name"],
        publish=publish,
        options=options,
    )
    ctx.exit(code)


@click.command(cls=Command, hidden=True, epilog="Example: cogsmith predict -i prompt='a cat'   (today: cogsmith run)")
@click.argument("reference", metavar="[IMAGE]", required=False, type=ImageName())
@inputs_options
@prediction_options
@project_options
@click.pass_context
def predict(ctx: click.Context, /, *, options: BuildOptions, **values: Any) -> None:
    """Run one prediction: the old name of `run`."""
    Console().warn("`cogsmith predict` is deprecated, use `cogsmith run`")
    ctx.exit(carry_out(Asked(**values, debug=bool(ctx.obj)), options=options))


@click.command(cls=Command, hidden=True, epilog="Example: cogsmith train -i data=@corpus.zip -o weights")
@click.argument("reference", metavar="[IMAGE]", required=False, type=ImageName())
@inputs_options
@click.option(
    "--setup-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=SETUP_TIMEOUT,
    show_default=True,
    help="Seconds until the server must be ready.",
)
@project_options
@click.pass_context
def train(ctx: click.Context, /, *, options: BuildOptions, **values: Any) -> None:
    """Run one training in IMAGE, or in the image of the current folder's project; the weights go to -o."""
    Console().warn("`cogsmith train` is deprecated, as in Cog: train in a script of your own, with `cogsmith exec`")
    path = cast("Path | None", values.pop("path")) or Path("weights")
    ctx.exit(carry_out(Asked(**values, path=path, training=True, debug=bool(ctx.obj)), options=options))
