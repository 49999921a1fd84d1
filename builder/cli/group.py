"""Commands and groups that forgive: a mistyped name is answered with the nearest one.  Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator

import click

TRUE, FALSE = ("1", "t", "true"), ("0", "f", "false")


class Command(click.Command):
    """As click's, and with what programs written in Go take: `--flag=false`, and `-n=1` for `-n 1`."""

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


class Group(click.Group):
    """As click's, with a did-you-mean."""

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
