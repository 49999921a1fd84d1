"""The command line.  Only this package prints, exits and reads the environment.

Subcommands are imported when they are called: `cogsmith --help` imports neither pydantic nor a registry client.
"""

from __future__ import annotations

import gc
import importlib
import io
import sys
from typing import TYPE_CHECKING, Any

import click

from builder import __version__
from builder.cli.group import Group, global_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "build": ("builder.cli.build:build", "Build the image of a project"),
    "plan": ("builder.cli.build:plan", "Show which layers an image has, and why"),
    "why": ("builder.cli.why:why", "Say who asks for a package, and which layer holds it"),
    "lock": ("builder.cli.lock:lock", "Pin everything an image is made of in pylock.cog.toml"),
    "push": ("builder.cli.push:push", "Build the image of a project and push it to a registry"),
    "pull": ("builder.cli.pull:pull", "Bring an image from a registry"),
    "login": ("builder.cli.login:login", "Log in to a registry"),
    "logout": ("builder.cli.login:logout", "Forget the login of a registry"),
    "list": ("builder.cli.browse:list_", "List the tags of a repository"),
    "show": ("builder.cli.browse:show", "Show what an image of a registry holds, without downloading it"),
    "run": ("builder.cli.run:run", "Run one prediction"),
    "serve": ("builder.cli.serve:serve", "Serve predictions over HTTP"),
    "exec": ("builder.cli.exec:exec_", "Run a command in the image's environment"),
    "playground": ("builder.cli.playground:playground", "Try a served model in the browser"),
    "init": ("builder.cli.init:init", "Begin a project"),
    "doctor": ("builder.cli.doctor:doctor", "Check the project and this machine, and mend what can be"),
    "schema": ("builder.cli.schema:command", "Print the inputs and outputs of a model"),
    "emit": ("builder.cli.emit:emit", "Write what other tools build the same image from"),
    "image": ("builder.cli.image:image", "List, inspect, remove, export and import images"),
    "cache": ("builder.cli.cache:cache", "See and bound what is kept on disk"),
    "completion": ("builder.cli.completion:completion", "Print the completion script of a shell"),
}
"""Name → where its function is, and its help in the list."""

HIDDEN: dict[str, str] = {
    "debug": "builder.cli.debug:debug",
    "predict": "builder.cli.run:predict",
    "train": "builder.cli.run:train",
}
"""Commands that work, but are not in the list: those that Cog hides."""


class LazyGroup(Group):
    """A group whose commands are imported when one of them is called."""

    debug = False
    """Whether the command that was called has `--debug`, wherever it stands."""

    def invoke(self, ctx: click.Context) -> Any:
        """As every group; and keep what outlives the context."""
        try:
            return super().invoke(ctx)
        finally:
            self.debug = bool(ctx.obj)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command; none if there is no such name."""
        place = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else HIDDEN.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands by their names, without importing any; options as usual."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return [item for item in super().shell_complete(ctx, incomplete) if item.value.startswith("-")]
        return [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    params=global_options(shown=True),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: cogsmith run -i prompt='a cat'   (in the folder of a cog.yaml: builds, starts, predicts)",
)
@click.version_option(__version__, message="cogsmith version %(version)s")
def cli() -> None:
    """Cogsmith builds, runs and ships Cog models as container images, with no Docker daemon and no root."""


def main() -> None:
    """The entry point of the program `cogsmith`."""
    from builder.errors import CogsmithError

    gc.set_threshold(50_000, 20, 20)  # imports make much and drop nothing: looking again and again costs a tenth
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a model's answer is UTF-8, whatever this machine's locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = cli.main(prog_name="cogsmith", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except CogsmithError as problem:
        from builder.cli.console import print_error

        if cli.debug:
            sys.excepthook(type(problem), problem, problem.__traceback__)
        else:
            print_error(problem)
        sys.exit(problem.exit_code)
    except BrokenPipeError:
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)
