"""`run`, `serve` and `exec`: images in the embedded sandbox."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from builder.cli.base import base_layers
from builder.cli.building import build_project
from builder.cli.console import Console, say
from builder.cli.image import get
from builder.cli.project import find
from builder.cli.settings import Settings, read
from builder.config import FILE_NAME
from builder.engine import client, container, inputs, outputs, server
from builder.errors import InputError, StoreError
from builder.sandbox import Mount
from builder.store import Store, StoredImage

SERVE_PORT = 8393


def image_or_project(
    reference: str | None, *, file: str, settings: Settings, store: Store, console: Console
) -> StoredImage:
    """The image of that name, or the project of the current folder built."""
    if reference is not None:
        if "=" in reference:
            raise InputError(f"Invalid image name '{reference}'. Did you forget `-i`?", hint=f"-i {reference}")
        image = get(store, reference)
        labels = (image.config.get("config") or {}).get("Labels") or {}
        if "run.cog.config" not in labels and "org.cogmodel.config" not in labels:
            raise StoreError(
                f"Image {reference} does not appear to be a Cog model", hint="build it with cogsmith or cog"
            )
        return image
    from builder.cli.building import open_project
    from builder.cli.options import BuildOptions

    project = open_project(Path.cwd(), options=BuildOptions(file=file), settings=settings, console=console)
    console.note(f"Building {project.root / file}")
    image = build_project(project, settings=settings, store=store, console=console, platform=settings.host_platform)
    console.close()
    return image


def schema_of(image: StoredImage) -> Mapping[str, Any] | None:
    """The model's OpenAPI document from the image's label."""
    label = ((image.config.get("config") or {}).get("Labels") or {}).get("run.cog.openapi_schema")
    return json.loads(label) if label else None


def server_env(extra: tuple[str, ...]) -> dict[str, str]:
    """The environment of a server that a person watches, with the `-e` options."""
    env = {"LOG_FORMAT": "console", "COG_LOG_LEVEL": "warning"}
    return env | environment(extra)


def environment(items: tuple[str, ...]) -> dict[str, str]:
    """`NAME=value` as given, `NAME` with this process's value."""
    env: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name:
            raise InputError(f"`-e {item}` names no variable", hint="as in `-e NAME=value`")
        if equals:
            env[name] = value
        elif name in os.environ:
            env[name] = os.environ[name]
    return env


@click.command(epilog="Example: cogsmith run my-model -i prompt='a cat' -i image=@cat.jpg -o result.png")
@click.argument("reference", metavar="[IMAGE]", required=False)
@click.option("-i", "--input", "given", multiple=True, metavar="NAME=VALUE", help="An input; NAME=@PATH gives a file.")
@click.option("--json", "as_json", metavar="JSON|@FILE|-", help="All inputs as one JSON object; the answer as JSON.")
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Where the output goes.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable of the container.")
@click.option("-f", "--file", default=FILE_NAME, show_default=True, help="Name of the configuration file.")
@click.option(
    "--setup-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=server.SETUP_TIMEOUT,
    show_default=True,
    help="Seconds for the model's setup.",
)
@click.pass_context
def run(
    ctx: click.Context,
    *,
    reference: str | None,
    given: tuple[str, ...],
    as_json: str | None,
    path: Path | None,
    env: tuple[str, ...],
    file: str,
    setup_timeout: float,
) -> None:
    """Run one prediction in IMAGE, or in the image of the current folder's project, which is built first."""
    settings = read()
    console = Console()
    store = Store.open(settings.store_root)
    if given and as_json is not None:
        raise InputError("Must use one of --json or --input to provide model inputs", hint="leave one of them out")
    with store.using(report=console):
        image = image_or_project(reference, file=file, settings=settings, store=store, console=console)
        schema = schema_of(image)
        values = _inputs(given, as_json=as_json, schema=schema)
        if schema is not None:
            inputs.require(values, schema=schema)
        running = server.start(
            image,
            store=store,
            options=container.Options(env=server_env(env)),
            logs=sys.stderr.fileno(),
            setup_timeout=setup_timeout,
            report=console,
            fetch=base_layers(image, store=store, settings=settings, report=console),
        )
        console.close()
        with running:
            schema = schema or client.openapi(running.port)
            answer = client.predict(running.port, inputs=values)
    if as_json is not None:
        _answer_json(answer, schema=schema, path=path, console=console)
        ctx.exit(0 if answer.status == "succeeded" else 1)
    answer.require()
    delivery = outputs.deliver(answer.output, schema=schema, path=path, folder=Path.cwd())
    _tell(delivery, console=console)
    if delivery.text:
        sys.stdout.write(delivery.text)
        sys.stdout.flush()


def _inputs(given: tuple[str, ...], *, as_json: str | None, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    if as_json is None:
        return inputs.parse(given, schema=schema, folder=Path.cwd())
    text = as_json
    if as_json in ("-", "@-"):
        text = sys.stdin.read()
    elif as_json.startswith("@"):
        try:
            text = Path(as_json[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise InputError(f'Failed to read JSON from file "{as_json[1:]}": {problem}') from problem
    return inputs.parse_json(text, folder=Path.cwd())


def _answer_json(
    answer: client.Prediction, *, schema: Mapping[str, Any] | None, path: Path | None, console: Console
) -> None:
    """The whole answer as JSON; files of the output lie beside it, and their names stand in it."""
    output = answer.output
    if path is not None and path.is_dir():
        path /= f"{outputs.DEFAULT_NAME}.json"
    if path is not None and path.suffix != ".json":
        console.warn(f"--output value does not have a .json suffix: {path}")
    if answer.status == "succeeded":
        beside = None if path is None else path.with_suffix("")
        files = outputs.write_files(output, schema=schema, path=beside, folder=Path.cwd())
        if files:
            names = [str(file) for file in files]
            output = names if isinstance(output, list) else names[0]
    data: dict[str, Any] = {"status": answer.status, "output": output, "error": answer.error}
    if answer.raw.get("metrics"):
        data["metrics"] = answer.raw["metrics"]
    text = json.dumps(data, indent=2, ensure_ascii=False)
    if path is None:
        say(text)
    else:
        outputs.write(path, (text + "\n").encode("utf-8", errors="backslashreplace"))


def _tell(delivery: outputs.Delivery, *, console: Console) -> None:
    if delivery.warning:
        console.warn(delivery.warning)
    for written in delivery.files:
        console.note(f"Written output to: {written}")


@click.command(epilog="Example: cogsmith serve -p 8080 my-model")
@click.argument("reference", metavar="[IMAGE]", required=False)
@click.option(
    "-p", "--port", type=click.IntRange(1, 65535), default=SERVE_PORT, show_default=True, help="Port on this machine."
)
@click.option("--host", default=server.LOOPBACK, show_default=True, help="Address to listen at.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable of the container.")
@click.option("-f", "--file", default=FILE_NAME, show_default=True, help="Name of the configuration file.")
def serve(*, reference: str | None, port: int, host: str, env: tuple[str, ...], file: str) -> None:
    """Serve predictions of IMAGE, or of the current folder's project, until interrupted."""
    settings = read()
    console = Console()
    store = Store.open(settings.store_root)
    with store.using(report=console):
        image = image_or_project(reference, file=file, settings=settings, store=store, console=console)
        running = server.start(
            image,
            store=store,
            options=container.Options(env=server_env(env)),
            host=host,
            port=port,
            logs=sys.stderr.fileno(),
            wait=False,
            report=console,
            fetch=base_layers(image, store=store, settings=settings, report=console),
        )
        console.close()
        signal.signal(signal.SIGTERM, _interrupt)
        with running:
            console.note(f"Serving at http://{'localhost' if host == server.LOOPBACK else host}:{port}")
            try:
                code = running.container.wait()
            except KeyboardInterrupt:
                console.note("Stopping")
                return
    sys.exit(code)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: cogsmith exec python -c 'import torch; print(torch.__version__)'",
)
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable of the container.")
@click.option("-f", "--file", default=FILE_NAME, show_default=True, help="Name of the configuration file.")
@click.option("--image", "reference", metavar="IMAGE", help="An image instead of the current folder's project.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(
    ctx: click.Context, *, env: tuple[str, ...], file: str, reference: str | None, command: tuple[str, ...]
) -> None:
    """Run COMMAND in the image of the current folder's project, with the project mounted at /src.

    Ends with the command's exit code.
    """
    settings = read()
    console = Console()
    store = Store.open(settings.store_root)
    mounts: tuple[Mount, ...] = ()
    with store.using(report=console):
        image = image_or_project(reference, file=file, settings=settings, store=store, console=console)
        if reference is None:
            mounts = (Mount(target="/src", source=find(Path.cwd(), file=file).root),)
        code = container.run(
            image,
            store=store,
            options=container.Options(
                command=command, env=environment(env), mounts=mounts, workdir="/src", tty=sys.stdin.isatty()
            ),
            report=console,
            fetch=base_layers(image, store=store, settings=settings, report=console),
        )
    ctx.exit(code)
