"""The options that several commands share, and what they amount to.

Every command that has a project takes `project_options`; those that make an image for keeps take `build_options`, which
hold them.  A command receives one value, `options`, instead of an argument for each.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

import click

from builder.config import FILE_NAME
from builder.frozen import frozen
from builder.plan import Compression, Network

F = TypeVar("F", bound=Callable[..., Any])
Progress: TypeAlias = Literal["auto", "tty", "plain", "quiet"]
PROGRESS = ("auto", "tty", "plain", "quiet")
EXCLUSIVE = ("use_cog_base_image", "use_cuda_base_image", "base", "dockerfile")
LAST_EPOCH = 2**33 - 1
"""The largest time that a tar header of ours can hold."""


@frozen
class BuildOptions:
    """What the options say, checked; the defaults are those of a command that has none of them."""

    file: str = FILE_NAME
    progress: Progress = "auto"
    cog_base: bool | None = None
    """Take `r8.im/cog-base` (true), never take it (false), or what is usual (none was given)."""
    cuda_base: bool | None = None
    secrets: tuple[str, ...] = ()
    """As written; `builder.cli.secrets` reads them."""
    network: Network = "host"
    """What commands of `build.run` see of it."""
    debug_shell: bool = False
    fresh: bool = False
    locked: bool = False
    platform: str | None = None
    backend: str | None = None
    isolation: str | None = None
    nix_store: str | None = None
    nix_cache: str | None = None
    nix_sandbox: str | None = None
    cache_repo: str | None = None
    compression: Compression = "gzip"
    bytecode: bool = True
    schema_file: Path | None = None
    skip_schema: bool = False
    epoch: int | None = None
    idle: tuple[str, ...] = ()
    """Options that were given and change nothing, for there is nothing to change; each is a line for the user."""


IDLE = {
    "separate_weights": "`--separate-weights` changes nothing: each large file is a layer of its own in every image",
    "strip": "`--strip` changes nothing: wheels go into the image as their authors published them, which is what lets "
    "images share layers",
    "precompile": "`--precompile` changes nothing: bytecode is in every image (`--no-bytecode` leaves it out)",
}


def project_options(function: F) -> F:
    """`-f`, `--progress` and the choice of a base: for every command that has a project."""
    return cast("F", _declare(_gather(function), _PROJECT))


def build_options(function: F) -> F:
    """All that shapes an image, with `project_options`."""
    return cast("F", _declare(_gather(function), [*_BUILD, *_PROJECT]))


def _declare(function: Callable[..., Any], options: list[Callable[[Any], Any]]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


def _gather(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def command(**values: Any) -> Any:
        options = _options(values)  # takes its own out of the values
        return function(**values, options=options)

    return command


def _options(values: dict[str, Any]) -> BuildOptions:
    """Take the shared options out of `values`."""
    given = [name for name in EXCLUSIVE if _is_given(name)]
    if len(given) > 1:
        flags = [f"--{name.replace('_', '-')}" for name in given]
        raise click.UsageError(
            f"The flags {flags[0]} and {flags[1]} are mutually exclusive: you can only set one of them."
        )
    if values.pop("dockerfile", None) is not None:
        raise click.UsageError(
            "`--dockerfile` is not for Cogsmith, which builds without Dockerfiles: build yours with another tool, and "
            "name the image in `build.base_image` of cog.yaml"
        )
    cuda, base = values.pop("use_cuda_base_image"), values.pop("base")
    timestamp = values.pop("timestamp", None)
    return BuildOptions(
        file=values.pop("file"),
        progress=_progress(values.pop("progress")),
        cog_base=values.pop("use_cog_base_image"),
        cuda_base=base == "cuda" if base else None if cuda in (None, "auto") else cuda != "false",
        secrets=values.pop("secret", ()),
        network=values.pop("network", "host"),
        debug_shell=values.pop("debug_shell", False),
        fresh=values.pop("no_cache", False),
        locked=values.pop("locked", False),
        platform=values.pop("platform", None),
        backend=values.pop("backend_name", None),
        isolation=values.pop("isolation", None),
        nix_store=values.pop("nix_store", None),
        nix_cache=" ".join(values.pop("nix_cache", ())) or None,
        nix_sandbox="off" if values.pop("nix_unsandboxed", False) else None,
        cache_repo=_repository(values.pop("cache_repo", None)),
        compression=values.pop("compression", "gzip"),
        bytecode=not values.pop("no_bytecode", False),
        schema_file=_schema_file(values),
        skip_schema=values.pop("skip_schema_validation", False),
        epoch=None if timestamp in (None, -1) else timestamp,
        idle=tuple(text for name, text in IDLE.items() if values.pop(name, False)),
    )


def _repository(text: str | None) -> str | None:
    if text:
        from builder.reference import parse

        parse(text)  # an error is said before the work
    return text


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _progress(given: Progress | None) -> Progress:
    if given is not None:
        return given
    wanted = os.environ.get("BUILDKIT_PROGRESS", "")
    if wanted in PROGRESS:
        return cast("Progress", wanted)
    return "plain" if os.environ.get("TERM") == "dumb" else "auto"


def _schema_file(values: dict[str, Any]) -> Path | None:
    given = values.pop("openapi_schema", None) or os.environ.get("COG_OPENAPI_SCHEMA")
    return Path(given) if given else None


_PROJECT: list[Callable[[Any], Any]] = [
    click.option("-f", "--file", default=FILE_NAME, show_default=True, help="Name of the configuration file."),
    click.option("--progress", type=click.Choice(PROGRESS), help="How work is shown (default: auto)."),
    click.option(
        "--use-cog-base-image/--no-cog-base-image",
        is_flag=True,
        default=None,
        help="Build on r8.im/cog-base, or never.",
    ),
    click.option(
        "--base",
        type=click.Choice(["cuda", "debian"]),
        help="What a GPU model stands on: an image of nvidia/cuda, or our Debian (default: what its packages need).",
    ),
    click.option(
        "--use-cuda-base-image",
        metavar="auto|true|false",
        help="As --base cuda (true) and --base debian (false).",
    ),
    click.option("--dockerfile", metavar="FILE", hidden=True, help="Not supported: name an image in build.base_image."),
]
_BUILD: list[Callable[[Any], Any]] = [
    click.option(
        "--platform",
        metavar="OS/ARCH",
        help="linux/amd64 or linux/arm64 (default: the lock's, or amd64); `build` and `push` take both.",
    ),
    click.option("--locked", is_flag=True, help="Refuse to build without a lock file that is up to date."),
    click.option(
        "--no-cache", is_flag=True, help="Run the commands of build.run again; resolve afresh without a lock."
    ),
    click.option(
        "--secret", multiple=True, metavar="id=ID,src=PATH", help="A secret for build.run: a file, or env=NAME."
    ),
    click.option(
        "--network",
        type=click.Choice(["host", "none"]),
        default="host",
        show_default=True,
        help="What commands of build.run see of the network.",
    ),
    click.option(
        "--cache-repo",
        metavar="REPOSITORY",
        help="Share layers with other machines: take them from this repository, and keep there what is made.",
    ),
    click.option("--debug-shell", is_flag=True, help="Open a shell where a command of build.run fails."),
    click.option("--no-bytecode", is_flag=True, help="Leave bytecode out: smaller, and slower to start."),
    click.option("--openapi-schema", metavar="FILE", help="Take the model's schema from FILE instead of its source."),
    click.option("--separate-weights", is_flag=True, help="As every build does: large files are layers of their own."),
    click.option("--backend", "backend_name", metavar="NAME", help="Who makes the layers (default: embedded)."),
    click.option(
        "--isolation",
        type=click.Choice(["auto", "oci", "chroot"]),
        help="How Buildah isolates commands (default: auto, what works here).",
    ),
    click.option("--nix-store", metavar="DIR", help="Let Nix build in a store of its own below DIR."),
    click.option("--nix-cache", metavar="URL", multiple=True, help="Take layers from this binary cache of Nix."),
    click.option("--nix-unsandboxed", is_flag=True, help="Let Nix build without its sandbox, where it has none."),
    click.option(
        "--layer-format",
        "compression",
        type=click.Choice(["gzip", "plain", "zstd"]),
        default="gzip",
        show_default=True,
        help="How layers are stored.",
    ),
    click.option(
        "--timestamp",
        type=click.IntRange(-1, LAST_EPOCH),
        hidden=True,
        help="Seconds since 1970: the latest time of a file in the image, as SOURCE_DATE_EPOCH (-1: the default).",
    ),
    click.option("--strip", is_flag=True, hidden=True, help="Accepted; changes nothing."),
    click.option("--precompile", is_flag=True, hidden=True, help="Accepted; changes nothing."),
    click.option("--skip-schema-validation", is_flag=True, hidden=True, help="Do not check the model's schema."),
]
