"""Commands and groups that forgive: a mistyped name is answered with the nearest one.  Imports nothing of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

TRUE, FALSE = ("1", "t", "true"), ("0", "f", "false")


def _remember(ctx: click.Context, param: click.Parameter, value: bool | str | None) -> None:
    """What is in the environment holds for the programs that we start as well, and is read where it is needed."""
    if not value or ctx.resilient_parsing:
        return
    if param.name == "global_debug":
        ctx.obj = ctx.find_root().obj = True
    elif param.name == "global_no_color":
        os.environ["NO_COLOR"] = "1"
    elif param.name == "global_registry":
        os.environ["COG_REGISTRY_HOST"] = str(value)


def _global(name: str, help: str, *, hidden: bool = True, metavar: str | None = None) -> click.Option:  # noqa: A002
    return click.Option(
        [name, f"global_{name.removeprefix('--').replace('-', '_')}"],  # else an argument of that name is taken for it
        is_flag=metavar is None,
        metavar=metavar,
        help=help,
        hidden=hidden,
        expose_value=False,
        is_eager=True,
        callback=_remember,
    )


def global_options(*, shown: bool) -> list[click.Parameter]:
    """The options that stand before a command's name or, as in Cog, anywhere after it; the list of Cog hides two."""
    return [
        _global("--debug", "Show the traceback of every error, and all that a model's server says.", hidden=not shown),
        _global("--no-color", "No colours (also NO_COLOR and COG_NO_COLOR).", hidden=not shown),
        _global("--registry", "Instead of r8.im (also COG_REGISTRY_HOST).", metavar="HOST"),
        _global("--profile", "Accepted for Cog's sake; changes nothing."),
    ]


_HIDDEN = global_options(shown=False)
GLOBAL_FLAGS = frozenset(name for option in _HIDDEN for name in option.opts if name != "--registry")


class Command(click.Command):
    """As click's, with the options of all commands, and with what programs written in Go take.

    That is `--flag=false`, and `-n=1` for `-n 1`.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own, and those of all commands; not among its `params`, which are what its manual lists."""
        found = super().get_params(ctx)
        own = {name for param in found for name in param.opts}
        return [*found, *(option for option in _HIDDEN if own.isdisjoint(option.opts))]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words made plain, then as usual."""
        return super().parse_args(ctx, list(self.plain(args, ctx=ctx)))

    def plain(self, args: list[str], *, ctx: click.Context) -> Iterator[str]:
        """`-n 1` for `-n=1`, `--flag` for `--flag=true`; for `--flag=false` its opposite, or nothing if it has none."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        flags = {name: option for option in options if option.is_flag and option.is_bool_flag for name in option.opts}
        valued = {name for option in options if not option.is_flag and not option.count for name in option.opts}
        wanting = False  # whether the word before wants this one as its value
        for position, word in enumerate(args):
            name, equals, value = word.partition("=")
            if word == "--" or not (ctx.allow_interspersed_args or word.startswith("-") or wanting):
                yield from args[position:]
                return
            wanting = word in valued
            if equals and name in flags and value.lower() in TRUE + FALSE:
                yield from [name] if value.lower() in TRUE else flags[name].secondary_opts[:1]
            elif equals and len(name) == 2 and name in valued:
                yield from (name, value)
            else:
                yield word


class Group(Command, click.Group):
    """As click's and `Command`, with a did-you-mean."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begins with."""
        name, known = args[0] if args else "", self.list_commands(ctx)
        if name and not name.startswith("-") and name not in known and self.get_command(ctx, name) is None:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            ctx.fail(f"there is no command `{name}`" + (f", did you mean `{near[0]}`?" if near else ""))
        return super().resolve_command(ctx, args)
