"""A group of commands that answers a mistyped name with the nearest one.  Imports nothing of ours."""

from __future__ import annotations

import click


class Group(click.Group):
    """As click's, with a did-you-mean."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begins with."""
        name, known = args[0] if args else "", self.list_commands(ctx)
        if name and not name.startswith("-") and name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            ctx.fail(f"there is no command `{name}`" + (f", did you mean `{near[0]}`?" if near else ""))
        return super().resolve_command(ctx, args)
