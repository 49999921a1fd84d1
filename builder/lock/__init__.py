"""What was resolved, as a value and as `pylock.cog.toml`.  No I/O; imports `plan`, `oci` and `errors` only.

The text is a PEP 751 lock of the model's wheels, readable by other tools, with all else under `[tool.cogsmith]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from builder.frozen import frozen
from builder.oci import PackedLayer
from builder.plan import BaseLayer, Compiler, Deb, Interpreter, PythonArchive, Remote, Wheel

FILE_NAME = "pylock.cog.toml"
LOCK_FORMAT = 1


@frozen
class DebianBase:
    """A Debian system made from these packages.

    `executed`, with its `reason`, when a maintainer script is not one that is modelled.
    """

    suite: str
    architecture: str
    debs: tuple[Deb, ...]
    executed: bool = False
    reason: str = ""


@frozen
class ImageBase:
    """An image by digest: `reference` as the user wrote it, `digest` of the manifest of the platform.

    `env` and `labels` are the image's own, in its order; `glibc` is the version of its C library (`2.36`).
    """

    reference: str
    digest: str
    media_type: str
    size: int
    layers: tuple[BaseLayer, ...]
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    glibc: str = ""


@frozen
class Cuda:
    """The decision on CUDA (`builder.cuda_matrix.decide`) of a model with `build.gpu`, and why it is that.

    `version` (`12.8`) and `cudnn` (`9`) are empty where nothing uses them; `source` is what the version follows from.
    """

    version: str = ""
    cudnn: str = ""
    source: Literal["wheels", "table", "config", "default"] = "wheels"
    base: Literal["none", "runtime", "devel", "given"] = "none"
    """Which image of NVIDIA's is below; `given`: that of `build.base_image`, whatever it is."""
    image: str = ""
    """Its reference, for `runtime` and `devel`."""
    driver: str = ""
    """The oldest driver that runs it."""
    gpus: tuple[str, ...] = ()
    """Compute capabilities that PyTorch has code for, where they are known."""
    libraries: tuple[str, ...] = ()
    """Folders of libraries below `site-packages` that the loader has to be told of."""
    reasons: tuple[str, ...] = ()


@frozen
class Built:
    """A wheel that no index has, by its sha256, and what it was built from and with.

    The source is an archive, by hash, a commit of the repository `url`, or a folder of the project, by the hash of all
    files in it.  `key` names the source, the environment and
    the build requirements: whoever has built the same finds the wheel by it.  `same`: two builds gave one wheel.
    """

    sha256: str
    key: str
    source: Literal["sdist", "archive", "git", "directory"]
    filename: str = ""
    size: int = 0
    source_sha256: str = ""
    url: str = ""
    commit: str = ""
    subdirectory: str = ""
    requires: tuple[Wheel, ...] = ()
    same: bool = True


@frozen
class Lock:
    """Everything that was read from the world, by hash.

    `wheels` are the model's packages, `runtime_wheels` the server's.  `layers` holds, by layer key, the layers that
    were packed before.  `remotes` says where each file can be had and is no part of any identity.
    """

    config_hash: str
    platform: str
    interpreter: Interpreter
    base: DebianBase | ImageBase
    wheels: tuple[Wheel, ...]
    runtime_version: str
    runtime_wheels: tuple[Wheel, ...]
    runtime_build: str = ""
    """`resolve.runtime.build_id` of who made the lock: two builds of one version may differ in what they put in."""
    python: PythonArchive | None = None
    """What the interpreter comes from, where it is not the base's own."""
    system_packages: tuple[Deb, ...] = ()
    """Those of `build.system_packages` and all that they need and the base has not, in any order."""
    cuda: Cuda | None = None
    """With `build.gpu`."""
    compilers: tuple[Compiler, ...] = ()
    """What compiles bytecode where the image's own Python cannot: it is in a foreign base, or for other machines."""
    built: tuple[Built, ...] = ()
    """How to build those of `wheels` that no index has, sorted by sha256."""
    layers: tuple[tuple[str, PackedLayer], ...] = ()
    remotes: tuple[Remote, ...] = ()


def dumps(lock: Lock, *, folder: Path | None = None) -> str:
    """The text of `lock`: the same for equal locks.

    `folder` is where the text will lie: local files below it are named relative to it.
    """
    from builder.lock import pylock

    return pylock.dumps(lock, folder=folder)


def loads(text: str, *, folder: Path | None = None) -> Lock:
    """The lock in a text that lies in `folder`; a `LockError` that names the place of the first problem.

    `loads(dumps(lock)) == lock` if the remotes of `lock` are sorted by name and hash, as every reader gets them.
    """
    from builder.lock import pylock

    return pylock.loads(text, folder=folder)
