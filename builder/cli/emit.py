"""`emit`: files for other tools that build the same image."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import click

from builder.cli.console import Console
from builder.cli.group import Command, Group
from builder.cli.options import BuildOptions, build_options
from builder.cli.settings import Settings, read
from builder.errors import CogsmithError, ConfigError
from builder.store import Store

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group, epilog="Example: cogsmith emit containerfile -o ../context && buildah bud ../context")
def emit() -> None:
    """Write what other tools build the same image from: nothing of it needs Cogsmith, or it is CI that calls it."""


def _common(function: F) -> F:
    folder = click.option(
        "-o", "--output", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Where it goes."
    )
    project = click.argument("project", default=".", type=click.Path(path_type=Path))
    return project(folder(function))


BASE = click.option("--from-image", metavar="IMAGE", help="Build on this image instead of Cogsmith's own Debian base.")
KANIKO_IMAGE = click.option("--kaniko-image", metavar="IMAGE", help="The image that Kaniko's executor comes from.")


@emit.command(
    cls=Command, epilog="Example: cogsmith emit containerfile -o ../context && buildah bud -t my-model ../context"
)
@_common
@BASE
@build_options
def containerfile(*, project: Path, output: Path, from_image: str | None, options: BuildOptions) -> None:
    """Write a folder that builds the image of PROJECT with buildah, docker or Kaniko alone."""
    from builder.cli.building import with_options
    from builder.cli.emitting import build_context, gather, refuse_foreign, write_folder

    refuse_foreign(output)
    settings = with_options(read(), options)
    console = Console(progress=options.progress)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        found = gather(project, output=output, options=options, settings=settings, store=store, console=console)
        files = build_context(found, base=from_image, settings=settings, store=store, console=console)
        write_folder(files, folder=output, epoch=found.plan.epoch)
    console.close()
    console.note(f"{output}: buildah bud -t {_name(found.project)} {shlex.quote(str(output))}")


@emit.command(
    cls=Command,
    epilog="Example: cogsmith emit kubernetes --destination registry.example.com/me/model --context pvc:work -o ../job",
)
@_common
@click.option("--destination", multiple=True, metavar="REFERENCE", help="Where Kaniko pushes the image; repeatable.")
@click.option(
    "--context",
    "place",
    default="configmap",
    show_default=True,
    metavar="PLACE",
    help="How the folder gets into the pod: configmap, pvc:CLAIM/FOLDER, or git://, https://, s3://, gs://.",
)
@BASE
@KANIKO_IMAGE
@click.option("--namespace", metavar="NAME", help="Of the Job.")
@click.option("--registry-secret", metavar="NAME", help="The secret with the registry's credentials.")
@click.option("--kaniko-cache", metavar="REPOSITORY", help="Where Kaniko keeps and finds the layers of commands.")
@build_options
def kubernetes(
    *,
    project: Path,
    output: Path,
    destination: tuple[str, ...],
    place: str,
    from_image: str | None,
    kaniko_image: str | None,
    namespace: str | None,
    registry_secret: str | None,
    kaniko_cache: str | None,
    options: BuildOptions,
) -> None:
    """Write a Kubernetes Job in which Kaniko builds the image of PROJECT and pushes it."""
    from builder.cli.building import with_options
    from builder.cli.emitting import archive, build_context, gather, refuse_foreign, write_folder
    from builder.emit.context import odd_labels
    from builder.emit.files import sums
    from builder.emit.kubernetes import Job, job

    refuse_foreign(output)
    settings = with_options(read(), options)
    console = Console(progress=options.progress)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        found = gather(project, output=output, options=options, settings=settings, store=store, console=console)
        destinations = destination or tuple(filter(None, [found.project.config.image]))
        if not destinations:
            raise ConfigError(
                "where is the image to be pushed?",
                hint="`--destination REGISTRY/REPOSITORY:TAG`, or `image` of cog.yaml",
            )
        given = {"kaniko_image": kaniko_image, "registry_secret": registry_secret, "cache_repo": kaniko_cache}
        spec = Job(
            name=_name(found.project),
            platform=found.lock.platform,
            destinations=destinations,
            context=place,
            bytes=sum(wheel.size for wheel in found.lock.wheels),
            version=found.lock.runtime_version,
            secrets=_secrets(found.project),
            labels=tuple(odd_labels(found.plan.config)),
            namespace=namespace,
        )
        spec = dataclasses.replace(
            spec, **cast("dict[str, Any]", {key: value for key, value in given.items() if value})
        )
        if place != "configmap":
            job(spec)  # what is wrong with it is said before the work
        files = build_context(found, base=from_image, settings=settings, store=store, console=console)
        packed = archive(files, epoch=found.plan.epoch) if place == "configmap" else None
        made = job(spec, archive=packed)
        if packed is None:
            made += [dataclasses.replace(file, path=f"context/{file.path}") for file in files]
        write_folder([*made, sums(made)], folder=output, epoch=found.plan.epoch)
    console.close()
    file = shlex.quote(str(output / "job.yaml"))
    console.note(f"{output}: kubectl apply --server-side -f {file} (README.md says what it needs once)")


@emit.command(cls=Command, epilog="Example: cogsmith emit nix -o ../flake && nix build path:../flake")
@_common
@click.option("--nixpkgs", is_flag=True, help="Let nixpkgs' Python run the packer instead of one in the folder.")
@build_options
def nix(*, project: Path, output: Path, nixpkgs: bool, options: BuildOptions) -> None:
    """Write a flake that builds the image of PROJECT with Nix alone, to the same digest."""
    from builder.cli.building import with_options
    from builder.cli.emitting import refuse_foreign
    from builder.cli.emitting_nix import write_flake

    refuse_foreign(output)
    settings = with_options(read(), options)
    console = Console(progress=options.progress)
    store = Store.open(settings.store_root)
    with store.using(report=console):
        write_flake(
            project,
            folder=output,
            nixpkgs=nixpkgs,
            options=options,
            settings=settings,
            store=store,
            console=console,
        )
    console.close()
    console.note(f"{output}: cd {shlex.quote(str(output))} && nix build path:. (README.md says more)")


def _pipeline_options(function: F) -> F:
    options = [
        click.option(
            "--builder",
            type=click.Choice(["cogsmith", "kaniko"]),
            default="cogsmith",
            show_default=True,
            help="Who builds: Cogsmith, or Kaniko what Cogsmith emits there.",
        ),
        click.option("--destination", default="", metavar="REFERENCE", help="Push here, not to the system's registry."),
        click.option("--install", metavar="REQUIREMENT", help="What pip installs to have Cogsmith."),
        KANIKO_IMAGE,
    ]
    made: Callable[..., Any] = function
    for option in reversed(options):
        made = option(made)
    return cast("F", _common(build_options(made)))


@emit.command(cls=Command, epilog="Example: cogsmith emit gitlab -o .")
@_pipeline_options
def gitlab(**values: Any) -> None:
    """Write a `.gitlab-ci.yml` that builds and pushes the image of PROJECT.

    DIR is the repository's own folder.
    """
    _pipeline("gitlab", **values)


@emit.command(cls=Command, epilog="Example: cogsmith emit github --builder kaniko -o .")
@_pipeline_options
def github(**values: Any) -> None:
    """Write a workflow for GitHub Actions that builds and pushes the image of PROJECT.

    DIR is the repository's own folder.
    """
    _pipeline("github", **values)


def _pipeline(
    system: Literal["gitlab", "github"],
    *,
    project: Path,
    output: Path,
    builder: Literal["cogsmith", "kaniko"],
    destination: str,
    install: str | None,
    kaniko_image: str | None,
    options: BuildOptions,
) -> None:
    from builder import __version__
    from builder.cli.building import open_project, with_options
    from builder.cli.emitting import write_among
    from builder.cli.locking import preferred_platform
    from builder.emit.kubernetes import KANIKO_IMAGE as USUAL
    from builder.emit.pipelines import Pipeline, pipeline

    settings: Settings = with_options(read(), options)
    console = Console(progress=options.progress)
    found = open_project(project, options=options, settings=settings, console=console)
    if not found.lock_path.exists():
        console.warn(f"`{found.lock_path}` is not there, and the pipeline builds `--locked`: run `cogsmith lock`")
    root = output.resolve()
    inside = found.root.is_relative_to(root)
    if not inside:
        console.warn(
            f"the project is not below `{output}`: the file is for a repository whose own folder holds its `cog.yaml`;"
            " name the repository's folder with `-o`"
        )
    spec = Pipeline(
        builder=builder,
        install=shlex.quote(install or f"cogsmith=={__version__}"),
        platform=options.platform or preferred_platform(found, settings=settings),
        destination=destination,
        folder=found.root.relative_to(root).as_posix() if inside else ".",
        executes=_builds(found.lock_path)
        or (
            builder == "cogsmith"
            and bool(found.config.commands or found.config.pre_install or found.config.system_packages)
        ),
        secrets=_secrets(found),
        kaniko_image=kaniko_image or USUAL,
    )
    place = write_among(pipeline(system, spec), folder=output)
    console.close()
    console.note(f"wrote {place}")


def _builds(lock: Path) -> bool:
    """Whether packages have to be built; what a lock that cannot be read wants, the pipeline will say."""
    from builder import lock as locks

    try:
        return bool(locks.loads(lock.read_text(encoding="utf-8"), folder=lock.parent).built)
    except (OSError, ValueError, CogsmithError):
        return False


def _secrets(project: Any) -> tuple[str, ...]:
    return tuple(sorted({mount.id for item in project.config.commands for mount in item.mounts}))


def _name(project: Any) -> str:
    from builder.cli.project import image_name

    return image_name(project)
