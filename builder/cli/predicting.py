"""One prediction or training from beginning to end, as `run`, `predict` and `train` do it.

Inputs are checked against the model's schema before anything is built or started.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.cli.console import Console, say
from builder.cli.options import BuildOptions
from builder.cli.project import Project, read_schema
from builder.cli.running import Place, chosen_engine, given_gpus, gpu_mounts, schema_of, server_env
from builder.cli.settings import read
from builder.engine import client, container, inputs, outputs, server
from builder.engine.handover import Handover
from builder.engine.large import whole
from builder.errors import ConfigError, InputError, PredictionError
from builder.frozen import frozen
from builder.store import Store, StoredImage

TOKEN = "REPLICATE_API_TOKEN"  # noqa: S105  a name


@frozen
class Asked:
    """What the command line says of a prediction; `reference` none: the current folder's project."""

    reference: str | None
    given: tuple[str, ...]
    as_json: str | None = None
    path: Path | None
    env: tuple[str, ...]
    gpus: str | None
    engine_name: str | None = None
    setup_timeout: float
    with_token: bool = False
    training: bool = False
    debug: bool = False


def carry_out(asked: Asked, *, options: BuildOptions) -> int:
    """Run it, deliver the output; the exit code."""
    if asked.given and asked.as_json is not None:
        raise InputError("Must use one of --json or --input to provide model inputs", hint="leave one of them out")
    context = _context(with_token=asked.with_token)
    text = None if asked.as_json is None else _json_text(asked.as_json)
    env = server_env(asked.env, debug=asked.debug)
    wanted_gpus = given_gpus(asked.gpus)
    settings = read()
    engine = chosen_engine(asked.engine_name, settings=settings)
    console = Console(progress=options.progress)
    store = Store.open(settings.store_root)
    place = Place(settings=settings, store=store, console=console, options=options)
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.using(report=console))
        files = inputs.Files(folder=Path.cwd(), send=stack.enter_context(Handover()).url)
        found: Project | StoredImage
        if asked.reference is None:
            found = _project(place, training=asked.training)
            schema, _ = read_schema(found, options=options)
        else:
            found = place.model(asked.reference)
            schema = schema_of(found)
        schema = inputs.for_training(schema) if asked.training and schema is not None else schema
        known = inputs.has_inputs(schema)
        values = _values(asked, text=text, schema=schema, files=files) if known else {}
        _check_output(asked.path, schema=schema)
        image = place.built(found) if isinstance(found, Project) else found
        command = container.Options(
            env=env,
            mounts=gpu_mounts(wanted_gpus, image=image, console=console),
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
        )
        running = server.start(
            image,
            store=store,
            options=command,
            arguments=("--x-mode", "train") if asked.training else (),
            setup_timeout=asked.setup_timeout,
            engine=engine,
            report=console,
            fetch=place.fetch(image),
        )
        console.close()
        with running:
            if not known:  # an image that does not say, but its server may
                schema = client.openapi(running.port)
                schema = inputs.for_training(schema) if asked.training and schema is not None else schema
                values = _values(asked, text=text, schema=schema, files=files)
            where = "/trainings" if asked.training else "/predictions"
            folder = stack.enter_context(store.scratch())
            answer = client.predict(running.port, inputs=values, context=context, path=where, folder=folder)
        return _delivered(answer, asked=asked, schema=schema, console=console)


def _check_output(path: Path | None, *, schema: Mapping[str, Any] | None) -> None:
    """Whether an output can be written where it is to go, before a model works on it for an hour."""
    target = Path.cwd() / outputs.DEFAULT_NAME
    try:
        if path is None:
            kind = outputs.output_schema(schema)
            if "uri" in (kind.get("format"), (kind.get("items") or {}).get("format")) and target.is_dir():
                message = f'Default output name "{outputs.DEFAULT_NAME}" conflicts with directory, provide --output'
                raise PredictionError(message, hint="as in `-o result`")
            return
        target = Path.cwd() / path.expanduser()
        if target.is_dir():
            target /= outputs.DEFAULT_NAME
        if target.is_symlink() or (target.exists() and not target.is_file()):  # /dev/stdout, a pipe
            return
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, RuntimeError) as problem:  # also a name too long, and `~nobody`
        why = (getattr(problem, "strerror", None) or str(problem)).lower()
        message = f"Output path is not writable: {target if path is None else path}"
        raise PredictionError(message, details=why, hint="choose another with `-o`") from problem


def _delivered(answer: client.Prediction, *, asked: Asked, schema: Mapping[str, Any] | None, console: Console) -> int:
    """Write the output where it belongs; the exit code."""
    if asked.as_json is not None:
        _answer_json(answer, schema=schema, path=asked.path, console=console)
        return 0 if answer.status == "succeeded" else 1
    answer.require()
    if asked.training and asked.path is not None:
        delivery = outputs.deliver_training(answer.output, schema=schema, path=asked.path, folder=Path.cwd())
    else:
        delivery = outputs.deliver(answer.output, schema=schema, path=asked.path, folder=Path.cwd())
    if delivery.warning:
        console.warn(delivery.warning)
    for written in delivery.files:
        console.note(f"Written output to: {written}")
    if delivery.text:
        sys.stdout.write(delivery.text)
        sys.stdout.flush()
    return 0


def _project(place: Place, *, training: bool) -> Project:
    project = place.project()
    field = "train" if training else "run"
    if not (project.config.train if training else project.config.run):
        raise ConfigError(
            f"`{place.options.file}` names no model: `{field}` is not set",
            hint=f'write `{field}: "{field}.py:{"Trainer" if training else "Runner"}"`; '
            "`cogsmith exec COMMAND` runs a command without a model",
        )
    return project


def _context(*, with_token: bool) -> dict[str, str]:
    if not with_token:
        return {}
    if not os.environ.get(TOKEN):
        raise InputError(
            f"Failed to find {TOKEN} in the current environment when called with --use-replicate-token",
            hint=f"set it: `export {TOKEN}=r8_...`",
        )
    return {"replicate_api_token": os.environ[TOKEN]}


def _json_text(given: str) -> str:
    """What `--json` names: standard input, a file, or itself."""
    if given in ("-", "@-"):
        try:
            return sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as problem:
            raise InputError(f"Failed to parse JSON: {problem}") from problem
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f'Failed to read JSON from file "{given[1:]}": {problem}') from problem


def _values(asked: Asked, *, text: str | None, schema: Mapping[str, Any] | None, files: inputs.Files) -> dict[str, Any]:
    """The inputs as the server gets them, checked."""
    if text is None:
        values = inputs.parse(asked.given, schema=schema, files=files)
    else:
        values = inputs.parse_json(text, schema=schema, files=files)
    if schema is not None:
        inputs.require(values, schema=schema)
    return values


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
    data: dict[str, Any] = {"status": answer.status, "output": whole(output), "error": answer.error}
    if answer.raw.get("metrics"):
        data["metrics"] = answer.raw["metrics"]
    text = json.dumps(data, indent=2, ensure_ascii=False)
    if path is None:
        say(text)
    else:
        outputs.write(path, (text + "\n").encode("utf-8", errors="backslashreplace"))
