"""`playground`: a page in the browser to try a model that is served."""

from __future__ import annotations

import signal
import threading

import click

from builder.cli.console import Console
from builder.cli.group import Command
from builder.engine import playground as page

PORT = 9000
WEBHOOK_HOST = "host.docker.internal"


@click.command(cls=Command, epilog="Example: cogsmith playground --target http://localhost:8393")
@click.option("-p", "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port of the page.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--target", metavar="URL", default="http://localhost:8393", show_default=True, help="Where the model is served."
)
@click.option(
    "--webhook-host", default=WEBHOOK_HOST, show_default=True, help="This machine's name, as the model knows it."
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
def playground(*, port: int, host: str, target: str, webhook_host: str, no_open: bool) -> None:
    """Serve a page with the model's inputs as a form, until interrupted."""
    console = Console()
    signal.signal(signal.SIGTERM, _interrupt)
    with page.serving(host=host, port=port, target=target, webhook_host=webhook_host) as bound:
        url = address(host, bound)
        console.note(f"Playground at {url}")
        if not no_open:
            open_browser(url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            console.note("Stopping")


def address(host: str, port: int) -> str:
    """What to write into a browser's address bar."""
    name = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::1": "[::1]", "::": "localhost"}.get(host, host)  # noqa: S104
    return f"http://{name}:{port}"


def open_browser(url: str) -> None:
    """Ask the desktop to show it.  The browser gets none of our streams: it would hold them open."""
    from builder import process

    process.detach(["xdg-open", url])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
