"""`serve`: predictions over HTTP until interrupted."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator

import click

from builder.cli.completion import ImageName
from builder.cli.console import Console
from builder.cli.group import Command
from builder.cli.options import BuildOptions, project_options
from builder.cli.running import (
    Place,
    chosen_engine,
    engine_option,
    env_option,
    given_gpus,
    gpu_mounts,
    gpus_option,
    server_env,
)
from builder.cli.settings import read
from builder.engine import container, server
from builder.store import Store

PORT = 8393
PLAYGROUND_PORT = 9000


@click.command(cls=Command, epilog="Example: cogsmith serve -p 8080 my-model")
@click.argument("reference", metavar="[IMAGE]", required=False, type=ImageName())
@click.option(
    "-p", "--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="Port on this machine."
)
@click.option("--host", default=server.LOOPBACK, show_default=True, help="Address to listen at.")
@click.option("--upload-url", metavar="URL", help="Where the model's output files are put, instead of in its answers.")
@click.option("--playground", is_flag=True, help="Serve a page to try the model with, too.")
@click.option(
    "--playground-port",
    type=click.IntRange(0, 65535),
    default=PLAYGROUND_PORT,
    show_default=True,
    help="Port of that page.",
)
@env_option
@gpus_option
@engine_option
@project_options
@click.pass_context
def serve(
    ctx: click.Context,
    *,
    reference: str | None,
    port: int,
    host: str,
    upload_url: str | None,
    playground: bool,
    playground_port: int,
    env: tuple[str, ...],
    gpus: str | None,
    engine_name: str | None,
    options: BuildOptions,
) -> None:
    """Serve predictions of IMAGE, or of the current folder's project, until interrupted.

    The model reaches this machine as host.docker.internal, for upload URLs and webhooks.
    """
    variables = server_env(env, debug=bool(ctx.obj))
    wanted_gpus = given_gpus(gpus)
    settings = read()
    engine = chosen_engine(engine_name, settings=settings)
    console = Console(progress=options.progress)
    store = Store.open(settings.store_root)
    place = Place(settings=settings, store=store, console=console, options=options)
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.using(report=console))
        image = place.built(place.project()) if reference is None else place.model(reference)
        running = server.start(
            image,
            store=store,
            options=container.Options(
                env=variables,
                mounts=gpu_mounts(wanted_gpus, image=image, console=console),
                stdout=sys.stderr.fileno(),
                stderr=sys.stderr.fileno(),
            ),
            arguments=("--upload-url", upload_url) if upload_url else (),
            host=host,
            port=port,
            wait=False,
            engine=engine,
            report=console,
            fetch=place.fetch(image),
        )
        console.close()
        signal.signal(signal.SIGTERM, _interrupt)
        with running:
            console.note(f"Serving at http://{'localhost' if host == server.LOOPBACK else host}:{port}")
            if playground:
                stack.enter_context(_playground(host, port=port, page_port=playground_port, console=console))
            try:
                code = running.container.wait()
            except KeyboardInterrupt:
                console.note("Stopping")
                return
    sys.exit(code)


@contextlib.contextmanager
def _playground(host: str, *, port: int, page_port: int, console: Console) -> Iterator[None]:
    """The page, beside the server."""
    from builder.cli.playground import WEBHOOK_HOST, address
    from builder.engine import playground as page

    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    with page.serving(
        host=server.LOOPBACK, port=page_port, target=f"http://{name}:{port}", webhook_host=WEBHOOK_HOST
    ) as bound:
        console.note(f"Playground at {address(server.LOOPBACK, bound)}")
        yield


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
