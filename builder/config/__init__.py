"""`cog.yaml` as a frozen value with every default explicit, and the hash of what a resolution depends on.

Imports `errors` only; the YAML reader is imported when a file is read, so that `--help` stays quick.
"""

from __future__ import annotations

import codecs
import dataclasses
import hashlib
from pathlib import Path

from builder.frozen import frozen
from builder.plan import canonical_json, to_plain

FILE_NAME = "cog.yaml"
MINIMUM_PYTHON = (3, 8)
"""The oldest that the SDK in the image runs on; Cog itself begins at 3.10, and many published models do not."""
MAXIMUM_PYTHON = (3, 14)
PLATFORMS = ("linux/amd64", "linux/arm64")

_SUITES = {"3.13": "trixie", "3.11": "bookworm"}


@frozen
class Mount:
    """A secret that a command of `build.run` sees as a file at `target`."""

    type: str
    id: str
    target: str


@frozen
class Command:
    """One line of `build.run`."""

    command: str
    mounts: tuple[Mount, ...] = ()


@frozen
class WeightSource:
    """Where managed weights come from, and which files of it."""

    uri: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@frozen
class Weight:
    """Managed weights: a named set of files mounted at `target`."""

    name: str
    target: str
    sources: tuple[WeightSource, ...]


@frozen
class Config:
    """What `cog.yaml` asks for.  `run` and `train` are `path/file.py:Name`; `predict` is kept as `run`."""

    python_version: str | None = None
    """`3.11`, or `3.11.2` where the file names a patch release; None: the resolution chooses."""
    python_requirements: str | None = None
    """A path as written: absolute, or relative to the project."""
    python_project: str | None = None
    """`build.python_project`: a `pyproject.toml`, or its folder, as written."""
    python_packages: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    """`build.run`."""
    pre_install: tuple[str, ...] = ()
    base_image: str | None = None
    """`build.base_image`: a reference, or `oci:PATH[:TAG]`."""
    nix_packages: tuple[str, ...] = ()
    """`build.nix_packages`: attributes of a nixpkgs, for builds by a flake that has one."""
    platforms: tuple[str, ...] = ()
    """`build.platforms`: those the model is made for, the preferred one first; empty: no wish."""
    gpu: bool = False
    cuda: str | None = None
    cudnn: str | None = None
    cuda_base: bool | None = None
    """Not in the file: whether the command line wants an image of NVIDIA's below (`--base`), or none."""
    sdk_version: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    """In the order of the file."""
    run: str | None = None
    train: str | None = None
    image: str | None = None
    model: str | None = None
    concurrency: int | None = None
    weights: tuple[Weight, ...] = ()
    warnings: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    """What a person should be told; no part of the value."""

    @property
    def python_minor(self) -> str | None:
        """`3.11` of `3.11.2`, if the file names a version."""
        return ".".join(self.python_version.split(".")[:2]) if self.python_version else None


def debian_suite(python_version: str) -> str | None:
    """The Debian release whose own Python is `python_version` (`3.11`, `3.11.2`), if this release knows one."""
    return _SUITES.get(".".join(python_version.split(".")[:2]))


def debian_pythons() -> tuple[str, ...]:
    """The Pythons (`3.13`) that a Debian release brings, the newest first."""
    return tuple(_SUITES)


def config_hash(config: Config, requirements_text: str) -> str:
    """sha256 of everything in the project that a resolution depends on; the text counts with its line ends."""
    data = {
        "base_image": config.base_image,
        "commands": to_plain(config.commands),
        "cuda": config.cuda,
        "cudnn": config.cudnn,
        "gpu": config.gpu,
        "pre_install": list(config.pre_install),
        "python_packages": list(config.python_packages),
        "python_project": config.python_project,
        "python_version": config.python_version,
        "requirements": requirements_text,
        "sdk_version": config.sdk_version,
        "system_packages": list(config.system_packages),
    }
    if config.cuda_base is not None:
        data["cuda_base"] = config.cuda_base
    return hashlib.sha256(canonical_json(data)).hexdigest()


def unsupported(config: Config) -> list[str]:
    """What the configuration asks for that this release cannot act on, one line each."""
    asked = {
        "weights": config.weights,
    }
    return [f"{field} is not supported by this release" for field, value in asked.items() if value]


def decode(data: bytes) -> str:
    """The text of a requirements file, as pip reads it: by its byte order mark, else UTF-8; or `UnicodeDecodeError`.

    PowerShell's `pip freeze > requirements.txt` writes UTF-16.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def load(text: str, *, path: Path) -> Config:
    """Read the text of a `cog.yaml`; every problem at once in one `ConfigError`.  `path` is for messages only."""
    from builder.config.document import read

    return read(text, path=path)
