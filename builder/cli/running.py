"""What the commands that run an image share: which image, its environment, its GPUs."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from builder.cli.building import build_project, open_project
from builder.cli.console import Console
from builder.cli.image import get
from builder.cli.options import BuildOptions
from builder.cli.project import Project, image_name
from builder.cli.settings import Settings
from builder.engine import gpus
from builder.engine.engines import Engine, engine
from builder.errors import InputError, SandboxError, SchemaError, StoreError
from builder.frozen import frozen
from builder.reference import parse
from builder.sandbox import Mount
from builder.store import Store, StoredImage

F = TypeVar("F", bound=Callable[..., Any])
PASSED = ("RUST_LOG",)
"""Variables of this process that the server gets, too: of Cog's own server, in images that Cog built."""

env_option = click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="A variable of the container.")
gpus_option = click.option(
    "--gpus", metavar="all|N|device=0,1", help="GPUs of the container (default: all, if cog.yaml says `gpu: true`)."
)
engine_option = click.option(
    "--engine", "engine_name", metavar="embedded|podman", help="Who runs the container (default: embedded)."
)


@frozen
class Place:
    """Where a command works: settings, store, console, and the options of the project."""

    settings: Settings
    store: Store
    console: Console
    options: BuildOptions

    def project(self) -> Project:
        """The project of the current folder, its warnings said."""
        return open_project(Path.cwd(), options=self.options, settings=self.settings, console=self.console)

    def built(self, project: Project, *, schema_needed: bool = True) -> StoredImage:
        """The project's image, for this machine.

        Without `schema_needed`, a model whose source cannot be read gets an image with another tag, without a schema.
        """
        self.console.note(f"Building {project.path}")
        try:
            image = self._build(project, options=self.options)
        except SchemaError as problem:
            if schema_needed:
                raise
            self.console.warn(f"the model has no schema: {problem.brief}")
            options = dataclasses.replace(self.options, skip_schema=True)
            image = self._build(project, options=options, tag=f"{parse(image_name(project)).name}:exec")
        self.console.close()
        return image

    def _build(self, project: Project, *, options: BuildOptions, tag: str | None = None) -> StoredImage:
        return build_project(
            project,
            settings=self.settings,
            store=self.store,
            console=self.console,
            options=options,
            tag=tag,
            platform=self.settings.host_platform,
        )

    def model(self, reference: str) -> StoredImage:
        """The model's image of that name; errors for what is none."""
        if "=" in reference:
            raise InputError(f"Invalid image name '{reference}'. Did you forget `-i`?", hint=f"-i {reference}")
        image = self._found(reference)
        if label(image, "config") is None:
            raise StoreError(
                f"Image {reference} does not appear to be a Cog model", hint="build it with cogsmith or cog"
            )
        return image

    def _found(self, reference: str) -> StoredImage:
        """The image of the store, else of the registry that the reference names."""
        wanted = self.settings.host_platform
        if self.store.image(reference, platform=wanted) is None and parse(reference).registry:
            from builder.cli.pull import pull_image

            return pull_image(
                reference,
                settings=self.settings,
                store=self.store,
                console=self.console,
                platform=wanted,
            )
        return get(self.store, reference)

    def fetch(self, image: StoredImage) -> Callable[[Any], None]:
        """Brings layers of the image's base that the store lacks."""
        from builder.cli.base import base_layers

        return base_layers(image, store=self.store, settings=self.settings, report=self.console)


def chosen_engine(name: str | None, *, settings: Settings) -> Engine:
    """The engine of `--engine`, else of the settings; `SandboxError` if there is none of that name."""
    return engine(name or settings.engine)


def label(image: StoredImage, name: str) -> str | None:
    """A label of Cog's, also under the prefix it had before 2026."""
    labels = (image.config.get("config") or {}).get("Labels") or {}
    found = labels.get(f"run.cog.{name}", labels.get(f"org.cogmodel.{name}"))
    return None if found is None else str(found)


def schema_of(image: StoredImage) -> Mapping[str, Any] | None:
    """The model's OpenAPI document from the image's label."""
    text = label(image, "openapi_schema")
    return json.loads(text) if text else None


def server_env(extra: Sequence[str], *, debug: bool) -> dict[str, str]:
    """The environment of a server that a person watches, with the `-e` options."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    level = "debug" if debug else "warning"
    return {"LOG_FORMAT": "console", "COG_LOG_LEVEL": level} | passed | environment(extra)


def environment(items: Sequence[str]) -> dict[str, str]:
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


def given_gpus(text: str | None) -> tuple[Mount, ...] | None:
    """The mounts of `--gpus`, before any work: an error says that this machine does not have them."""
    return None if text is None else gpus.mounts(gpus.parse(text))


def gpu_mounts(given: tuple[Mount, ...] | None, *, image: StoredImage, console: Console) -> tuple[Mount, ...]:
    """The mounts of `--gpus`; without it, all GPUs there are for a model that wants them, or a warning."""
    if given is not None:
        return given
    config = json.loads(label(image, "config") or "{}")
    if not (config.get("build") or {}).get("gpu"):
        return ()
    try:
        return gpus.mounts(gpus.Wanted())
    except SandboxError as problem:
        console.warn(f"Missing device driver, running without GPU: {problem.brief}")
        return ()
