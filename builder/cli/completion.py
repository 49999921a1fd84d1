"""`completion`: what a shell needs to complete commands, options and images."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

from builder.cli.console import say
from builder.cli.group import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_COGSMITH_COMPLETE"
"""Set by the shell when it asks; click answers then instead of running a command."""


@click.command(cls=Command, epilog="Example: cogsmith completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(*, shell: str) -> None:
    """Print the script that makes SHELL (bash, zsh or fish) complete the commands and options of cogsmith.

    For zsh: `cogsmith completion zsh > "${fpath[1]}/_cogsmith"`; for fish:
    `cogsmith completion fish > ~/.config/fish/completions/cogsmith.fish`.
    """
    chosen = get_completion_class(shell)
    assert chosen is not None
    root = click.get_current_context().find_root().command
    made = chosen(root, {}, "cogsmith", VARIABLE)
    say((made.source_template % made.source_vars()).strip("\n"))


class ImageName(click.types.StringParamType):
    """The name of an image; completed from the store."""

    name = "image"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The images whose name begins so."""
        from builder.cli.settings import read
        from builder.errors import CogsmithError
        from builder.store import Store

        try:
            names = [image.name.removesuffix(":latest") for image in Store.open(read().store_root).images()]
        except CogsmithError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
