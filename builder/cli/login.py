"""`login` and `logout`."""

from __future__ import annotations

import sys
import webbrowser

import click

from builder.cli import remote
from builder.cli.console import Console
from builder.cli.group import Command
from builder.cli.settings import Settings, read
from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.auth import Credentials


@click.command(cls=Command, epilog="Example: cogsmith login --token-stdin < token.txt")
@click.argument("registry", required=False)
@click.option("--token-stdin", is_flag=True, help="Read Replicate's CLI token from standard input.")
@click.option("-u", "--username", metavar="NAME", help="The name at another registry than Replicate's.")
@click.option("-p", "--password", metavar="PASSWORD", help="The password; everybody on this machine can see it here.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--no-open", is_flag=True, help="Do not open the page with the token in a browser.")
def login(
    *,
    registry: str | None,
    token_stdin: bool,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    no_open: bool,
) -> None:
    """Log in to REGISTRY (default: r8.im, Replicate's), for cogsmith, docker and podman alike."""
    settings = read()
    console = Console()
    host = _host(registry or settings.registry)
    others = username is not None or password is not None or password_stdin
    if token_stdin and others:
        raise click.UsageError("`--token-stdin` is for Replicate's registry, the other options are for others")
    if password is not None and password_stdin:
        raise click.UsageError("`--password` and `--password-stdin` exclude each other")
    if host == settings.registry and not others:
        credentials = _replicate(host, token_stdin=token_stdin, no_open=no_open, settings=settings, console=console)
        greeting = f"You've successfully authenticated as {credentials.username}! You can now use the {host} registry."
    else:
        if token_stdin:
            raise click.UsageError(f"`--token-stdin` is for {settings.registry} (`--registry` names another)")
        credentials = _others(host, username=username, password=password, password_stdin=password_stdin)
        from builder.registry.login import verify_password

        verify_password(credentials, registry=host, access=remote.access(settings))
        greeting = f"You are logged in to {host} as {credentials.username}."
    from builder.registry.keep import keep

    where = keep(credentials, registry=host, env=settings.env)
    console.note(greeting)
    console.note(f"The credentials are in {where}")


@click.command(cls=Command, epilog="Example: cogsmith logout registry.example.com")
@click.argument("registry", required=False)
def logout(*, registry: str | None) -> None:
    """Forget the credentials of REGISTRY (default: r8.im), wherever docker and podman keep them."""
    from builder.registry.keep import forget

    settings = read()
    host = _host(registry or settings.registry)
    found = forget(host, env=settings.env)
    Console().note(f"You are logged out of {host}" if found else f"You were not logged in to {host}")


def _host(text: str) -> str:
    """The registry in `HOST`, `https://HOST/` or a whole reference."""
    bare = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    if "/" in bare:
        return parse(bare).registry or bare.partition("/")[0]
    return {"index.docker.io": "docker.io", "registry-1.docker.io": "docker.io"}.get(bare, bare)


def _replicate(host: str, *, token_stdin: bool, no_open: bool, settings: Settings, console: Console) -> Credentials:
    from builder.registry.login import token_url, verify_token

    access = remote.access(settings)
    if token_stdin:
        token = sys.stdin.read().strip()
    else:
        url = token_url(host, access=access)
        console.note("This command will authenticate you with Replicate. You'll need a Replicate account.")
        console.note(f"Open this page, log in, and copy the token: {url}")
        if not no_open and remote.on_terminal(2):
            webbrowser.open(url)
        token = _prompt("Paste the token here").strip()
    if not token:
        raise RegistryError("there is no token", hint="paste it, or pipe it in: cogsmith login --token-stdin")
    return Credentials(username=verify_token(token, registry=host, access=access), password=token)


def _others(host: str, *, username: str | None, password: str | None, password_stdin: bool) -> Credentials:
    if password_stdin and username is None:
        raise click.UsageError("`--password-stdin` needs `--username`")
    name = username or _name(host)
    if not name:
        raise RegistryError("there is no user name", hint="give it when asked, or with `--username`")
    if password_stdin:
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if password is None:
        password = _prompt(f"Password of {name} at {host}")
    if not password:
        raise RegistryError("there is no password", hint="give it when asked, or with `--password-stdin`")
    return Credentials(username=name, password=password)


def _name(host: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"User name at {host}", err=True))
    return sys.stdin.readline().strip()


def _prompt(text: str) -> str:
    """A secret that is not shown; from a pipe, a line of it."""
    if sys.stdin.isatty():
        return str(click.prompt(text, hide_input=True, err=True))
    return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
