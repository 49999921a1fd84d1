"""What CUDA needs of the world: METADATA of the wheels that use it, for `builder.cuda_matrix` to decide by.

The decision itself is there; here is only what has to be read, and the words for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.config import Config
from builder.lock import Cuda, Lock
from builder.plan import Remote, Wheel
from builder.resolve.wheels import UnsatisfiableError

if TYPE_CHECKING:
    from builder.cuda_matrix import Wanted
    from builder.resolve.project import World

_PIN = re.compile(r"(?m)^\s*(torch|torchvision|tensorflow)\s*(?:\[[^]]*\])?\s*==\s*([0-9][0-9.]*)")


def accelerator(config: Config, *, text: str) -> str:
    """Which builds of PyTorch suit: `cpu`, or `cu121`; empty: those of the usual index.

    `text` are the requirements, of which a pinned torch counts, or a pinned torchvision if there is none.
    """
    if not config.gpu:
        return "cpu"
    from builder.data import torch

    return torch.torch_backend(torch.pinned_torch(_pins(text)), cuda=config.cuda)


def first_image(config: Config, *, old: Lock | None) -> str:
    """The image of NVIDIA's to begin with, before any package is known: what `build.cuda` asks for, else as before."""
    if not config.gpu or config.base_image:
        return ""
    if config.cuda and config.cuda_base is not False:
        from builder import cuda_matrix

        return cuda_matrix.decide(_wanted(config, platform=""), wheels=(), requires={}).image
    return old.cuda.image if old is not None and old.cuda is not None else ""


def decide(
    config: Config, *, wheels: Sequence[Wheel], remotes: Sequence[Remote], platform: str, world: World
) -> Cuda | None:
    """The decision for a model with `build.gpu`; warns of what Cog warns of."""
    if not config.gpu:
        return None
    from builder import cuda_matrix
    from builder.resolve import metadata
    from builder.resolve.indexes import uv_environment
    from builder.resolve.sessions import session_factory

    asked = [wheel for wheel in wheels if cuda_matrix.FRAMEWORKS.fullmatch(wheel.name)]
    session = session_factory(uv_environment(world.env, report=world.report))
    known = metadata.read_all(asked, remotes=remotes, store=world.store, new_session=session)
    wanted = _wanted(config, platform=platform)
    for text in cuda_matrix.doubts(wanted, wheels=wheels):
        world.report.warn(text)
    return cuda_matrix.decide(wanted, wheels=wheels, requires={name: one.requires for name, one in known.items()})


def explained(problem: UnsatisfiableError, *, text: str, python: str | None) -> UnsatisfiableError:
    """The same in one sentence, where it is a framework that has no build for this Python."""
    pins = _pins(text)
    if not pins or not python:
        return problem
    from builder.data import torch

    trouble = torch.python_trouble(pins, python=".".join(python.split(".")[:2]))
    if trouble is None:
        return problem
    return UnsatisfiableError(trouble, details=problem.details, hint="change `build.python_version`, or the package")


def known_glibc(reference: str) -> str | None:
    """The glibc of an image of NVIDIA's, whose layers need not be read for that."""
    if not reference.startswith(("nvidia/cuda:", "docker.io/nvidia/cuda:")):
        return None
    from builder.data.cuda import glibc_of

    return glibc_of(reference)


def _pins(text: str) -> Mapping[str, str]:
    return {name: version.rstrip(".") for name, version in _PIN.findall(text)}


def _wanted(config: Config, *, platform: str) -> Wanted:
    from builder import cuda_matrix

    wish: cuda_matrix.Wish = "" if config.cuda_base is None else "cuda" if config.cuda_base else "none"
    return cuda_matrix.Wanted(
        cuda=config.cuda,
        cudnn=config.cudnn,
        base=wish,
        given=config.base_image is not None,
        commands=(*(item.command for item in config.commands), *config.pre_install),
        machine=platform.rpartition("/")[2] or "amd64",
    )
