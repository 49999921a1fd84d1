"""CUDA: what the wheels bring, what a base image must bring, and why.  Pure: reads nothing but its own table.

Evidence comes first: what the locked wheels are, and what they say that they need, decides without a table, also for a
release of tomorrow.  The table (`builder/data/cuda.json`) is for what wheels do not say.
`python -m builder.cuda_matrix refresh` compares it with a Python package index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.data.cuda import (
    architectures,
    driver_for,
    images,
    major,
    minor,
    system_row,
    tag,
    toolkit,
    torch_row,
    with_cudnn,
)
from builder.errors import ConfigError
from builder.frozen import frozen
from builder.lock import Cuda
from builder.plan import Wheel

DEFAULT = "11.8"
"""What Cog takes where nothing says which CUDA is needed (spec: cog's `pkg/config`)."""

ON_WHEELS = frozenset({"onnxruntime-gpu", "tensorflow", "tensorflow-gpu"})
"""What finds the libraries of NVIDIA's wheels only where the loader is told of them."""

Wish: TypeAlias = Literal["", "cuda", "none"]
"""What was asked of the base: nothing, an image with CUDA, or one without."""
Source: TypeAlias = Literal["wheels", "table", "config", "default"]

_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu(\d+))?|cuda-toolkit")
_CUDNN = re.compile(r"nvidia-cudnn(?:-cu\d+)?")
_NEEDS_SYSTEM = re.compile(r"tensorflow(?:-gpu)?|onnxruntime-gpu|paddlepaddle-gpu|jax-cuda(\d+)-plugin|cupy-cuda(\d+)x")
_POST = re.compile(r"paddlepaddle-gpu==.*\.post(1[0-9]{2})")
_COMPILES = re.compile(
    r"\bnvcc\b|\bCUDA_HOME\b|/usr/local/cuda|\bTORCH_CUDA_ARCH_LIST\b|\bFORCE_CUDA\b"
    r"|\bsetup\.py\s+(?:build|install|develop|bdist_wheel)|\bcmake\b|\bflash[-_]attn\b"
)
FRAMEWORKS = re.compile(r"torch|tensorflow(?:-gpu)?|jax(?:lib|-cuda\d+-plugin)?|onnxruntime-gpu|paddlepaddle-gpu")
"""Wheels whose METADATA is evidence."""


@frozen
class Wanted:
    """What a configuration asks for: `build.cuda`, `build.cudnn`, the base, the commands of `build.run`, the image's
    Python (`3.11`) and machine (`amd64`).  `given` is true where `build.base_image` names the base.
    """

    cuda: str | None = None
    cudnn: str | None = None
    base: Wish = ""
    given: bool = False
    commands: tuple[str, ...] = ()
    machine: str = "amd64"


def of_tag(tag: str) -> str:
    """`12.1` of `cu121`, `11.8` of `cu118`; empty for what names no CUDA, or only a major one."""
    match = re.search(r"(?:^|[.+])cu(9\d|1\d\d)(?:\D|$)", tag)
    return f"{match[1][:-1]}.{match[1][-1]}" if match else ""


def compiles(command: str) -> bool:
    """Whether a command of `build.run` looks as if it compiled for CUDA, which needs the compiler of a devel image."""
    return _COMPILES.search(command) is not None


def decide(wanted: Wanted, *, wheels: Sequence[Wheel], requires: Mapping[str, Sequence[str]]) -> Cuda:
    """The decision for a model with `gpu: true` and these wheels.

    `requires` is what their METADATA says, by name, as far as it is known.  Raises `ConfigError`, in Cog's words where
    it has any, for what cannot work.
    """
    held = {wheel.name: wheel for wheel in wheels}
    brought, reasons = brings(wheels, requires=requires, machine=wanted.machine)
    needed = _needs(held, requires=requires)
    unmet = [need for need in needed if not any(major(have) == major(need.cuda) for have in brought)]
    _check_tensorflow(wanted, needed=unmet)
    reasons += [need.why for need in needed]
    version, source = _version(wanted, brought=brought, needed=unmet, held=held)
    variant, why = _variant(wanted, version=version, brought=brought, unmet=unmet, source=source)
    wheels_cudnn = "" if unmet else _brought_cudnn(held)
    cudnn = wanted.cudnn or next((need.cudnn for need in unmet if need.cudnn), wheels_cudnn)
    image = ""
    if variant in ("runtime", "devel"):
        chosen = _image(wanted, version=version, cudnn=cudnn, need=unmet[0] if unmet else None)
        image, cudnn = tag(chosen, variant=variant), str(chosen["cudnn"])
        version = version if brought and not wanted.cuda else minor(chosen["cuda"])
    if source == "default":
        reasons.append(f"no package says which CUDA it needs, and {DEFAULT} is what Cog takes then")
    if source == "config":
        reasons.append(f"`build.cuda` asks for {wanted.cuda}")
    torch = held.get("torch")
    return Cuda(
        version=version,
        cudnn=major(cudnn),
        source=source,
        base=variant,
        image=image,
        driver=driver_for([version, *brought]),
        gpus=architectures(torch.version, cuda=next(iter(brought), ""), machine=wanted.machine) if torch else (),
        libraries=_libraries(held) if any(n.package in ON_WHEELS for n in needed if n not in unmet) else (),
        reasons=tuple(dict.fromkeys([*reasons, why])),
    )


def brings(
    wheels: Iterable[Wheel], *, requires: Mapping[str, Sequence[str]], machine: str = "amd64"
) -> tuple[list[str], list[str]]:
    """The CUDA versions (`12.8`) that wheels hold, the first that of PyTorch if it names one, and how one sees that."""
    found: dict[str, str] = {}
    wheels = list(wheels)
    names = {wheel.name for wheel in wheels}
    of_torch = {_name_of(line) for line in requires.get("torch", ())}
    for wheel in sorted(wheels, key=lambda wheel: (wheel.name != "torch", wheel.name not in of_torch)):
        _, _, local = wheel.version.partition("+")
        if own := of_tag(local):
            found.setdefault(own, f"{wheel.name} {wheel.version} is built for CUDA {own} and brings it")
            continue
        if match := _RUNTIME.fullmatch(wheel.name):
            cuda = minor(wheel.version)
            if match[1] in (None, major(cuda)):
                found.setdefault(cuda, _asked(wheel, requires=requires) + f" which is CUDA {cuda}")
        elif wheel.name == "torch" and not local and machine == "amd64":
            row = torch_row(wheel.version)
            if row and major(row["default"]) == "10":  # before NVIDIA's wheels: all of it is inside
                found.setdefault(row["default"], f"torch {wheel.version} has CUDA {row['default']} inside")
    if "torch" in names and not found:
        return [], ["torch is a build without CUDA"]
    return list(found), list(found.values())


def oldest_gpu(cuda: str) -> str:
    """The compute capability (`7.5`) of the oldest GPU that a CUDA version has code for; empty: not known."""
    row = toolkit(cuda) if cuda else None
    return str(row["oldest_gpu"]) if row else ""


def cog_cuda(torch: str | None) -> str:
    """The CUDA that Cog resolves for a pinned torch, which its base images are named by: the newest of that version."""
    row = torch_row(torch) if torch else None
    return str(max(row["cuda"], key=Version)) if row else DEFAULT


def paragraph(cuda: Cuda) -> str:
    """The decision for a person to read."""
    head = f"CUDA {cuda.version}" if cuda.version else "No CUDA"
    if cuda.cudnn:
        head += f" with cuDNN {cuda.cudnn}"
    sentences = [f"{head}: {'; '.join(cuda.reasons)}."]
    if cuda.driver:
        sentences.append(f"The machine that runs it needs an NVIDIA driver of {cuda.driver} or newer.")
    if cuda.gpus:
        sentences.append(f"PyTorch has code for GPUs of compute capability {', '.join(cuda.gpus)}.")
    return " ".join(sentences)


def doubts(wanted: Wanted, *, wheels: Iterable[Wheel]) -> list[str]:
    """What may go wrong and need not: warnings, in Cog's words."""
    torch = next((wheel for wheel in wheels if wheel.name == "torch"), None)
    row = torch_row(torch.version) if torch else None
    if torch is None or row is None or wanted.cuda is None or minor(wanted.cuda) in row["cuda"]:
        return []
    text = (
        f"Cog doesn't know if CUDA {wanted.cuda} is compatible with PyTorch {torch.version}. This might cause CUDA"
        " problems."
    )
    older = [have for have in row["cuda"] if major(have) == major(wanted.cuda)]
    return [f"{text} Try {max(older or row['cuda'], key=Version)} instead?"]


@frozen
class _Need:
    """A package that loads CUDA from wherever the loader finds it."""

    package: str
    version: str
    cuda: str
    cudnn: str
    exact: bool
    source: Literal["wheels", "table"]

    @property
    def why(self) -> str:
        bound = "" if self.exact else " or newer"
        what = f"CUDA {self.cuda}{bound}" + (f" and cuDNN {major(self.cudnn)}" if self.cudnn else "")
        return f"{self.package} {self.version} needs {what}" + (
            "" if self.source == "wheels" else " (known from the table)"
        )


def _needs(held: Mapping[str, Wheel], *, requires: Mapping[str, Sequence[str]]) -> list[_Need]:
    found = []
    for name, wheel in sorted(held.items()):
        match = _NEEDS_SYSTEM.fullmatch(name)
        if not match:
            continue
        cuda, exact = _bound(requires.get(name, ()), pattern=_RUNTIME)
        cudnn, _ = _bound(requires.get(name, ()), pattern=_CUDNN)
        source: Literal["wheels", "table"] = "wheels"
        if not cuda and (post := _POST.fullmatch(f"{name}=={wheel.version}")):
            cuda, cudnn = f"{post[1][:-1]}.{post[1][-1]}", "8" if post[1] >= "110" else "7"
        if not cuda:
            row = system_row(name, version=wheel.version)
            cuda, cudnn, exact = row.get("cuda", ""), row.get("cudnn", ""), bool(row.get("exact"))
            source = "table"
        if not cuda and (major := match[1] or match[2]):
            cuda, source = f"{major}.0", "wheels"
        if cuda:
            found.append(_Need(package=name, version=wheel.version, cuda=cuda, cudnn=cudnn, exact=exact, source=source))
    return found


def _bound(requires: Iterable[str], *, pattern: re.Pattern[str]) -> tuple[str, bool]:
    """The least version (`12.5`) that a package asks for, extras included, and whether it is that one alone."""
    for text in requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if pattern.fullmatch(canonicalize_name(requirement.name)):
            for specifier in requirement.specifier:
                if specifier.operator in ("==", "===", ">=", "~=", ">"):
                    version = specifier.version.removesuffix(".*")
                    if "." not in version:  # `==12.*` is any of CUDA 12
                        return f"{version}.0", False
                    return minor(version), specifier.operator.startswith("==")
    return "", False


def _check_tensorflow(wanted: Wanted, *, needed: Sequence[_Need]) -> None:
    for need in needed:
        if not need.package.startswith("tensorflow"):
            continue
        if wanted.cuda and major(wanted.cuda) != major(need.cuda):
            raise ConfigError(
                f"TensorFlow {need.version} is incompatible with CUDA {wanted.cuda}: TensorFlow {need.version} requires"
                f" CUDA {need.cuda}",
                hint=f"set `build.cuda` to {need.cuda}, or leave it out",
            )
        if wanted.cudnn and need.cudnn and major(wanted.cudnn) != major(need.cudnn):
            raise ConfigError(
                f"the specified cuDNN version {wanted.cudnn} is not compatible with tensorflow=={need.version}."
                f" Compatible cuDNN version is: {major(need.cudnn)}",
                hint="leave out `build.cudnn`",
            )


def _version(
    wanted: Wanted, *, brought: Sequence[str], needed: Sequence[_Need], held: Mapping[str, Wheel]
) -> tuple[str, Source]:
    if wanted.cuda:
        return wanted.cuda, "config"
    if brought:
        return brought[0], "wheels"
    if needed:
        return needed[0].cuda, needed[0].source
    if not wanted.base and {"torch", "jax"} & held.keys():
        return "", "wheels"
    return DEFAULT, "default"


def _variant(
    wanted: Wanted, *, version: str, brought: Sequence[str], unmet: Sequence[_Need], source: Source
) -> tuple[Literal["none", "runtime", "devel", "given"], str]:
    compiler = next(filter(compiles, wanted.commands), None)
    if wanted.given:
        return "given", "the base is the image that `build.base_image` names"
    if wanted.base == "none":
        return "none", "no CUDA base, as was asked for"
    if wanted.cuda:
        return "devel", "so the base is the devel image of that CUDA, as with Cog"
    if compiler and version:
        return "devel", f"`{compiler}` of `build.run` compiles, so the base is the devel image"
    if wanted.base == "cuda":
        return "runtime", "a CUDA base was asked for"
    if unmet:
        return "runtime", f"no wheel brings that for {unmet[0].package}, so the base does: the runtime image"
    if not version:
        return "none", "nothing in the image uses CUDA, so the base has none"
    if brought:
        return "none", "so the base has no CUDA, and the image is smaller by gigabytes"
    if source == "default" and wanted.commands:
        return "devel", "`build.run` may compile, so the base is the devel image"
    return "runtime", "the base is the runtime image"


def _image(wanted: Wanted, *, version: str, cudnn: str, need: _Need | None) -> Mapping[str, Any]:
    """The row of the image to build on; `ConfigError` where there is none."""
    if wanted.cuda:
        rows = images(cuda=wanted.cuda)
        if not rows:
            gone = f"the images of CUDA {wanted.cuda} were removed" if images(cuda=wanted.cuda, removed=True) else None
            known = ", ".join(dict.fromkeys(minor(row["cuda"]) for row in images()))
            raise ConfigError(
                f"CUDA {wanted.cuda} is not supported by Cogsmith",
                details=gone,
                hint=f"set `build.cuda` to one of {known}, or name an image of your own in `build.base_image`",
            )
        if wanted.cudnn:
            fitting = with_cudnn(rows, wanted.cudnn)
            if not fitting:
                have = ", ".join(sorted({row["cudnn"] for row in rows}))
                raise ConfigError(
                    f"the specified CUDA version {wanted.cuda} is not compatible with CuDNN {wanted.cudnn}."
                    f" Compatible CuDNN versions are: {have}",
                    hint="leave out `build.cudnn`",
                )
            return fitting[0]
        return (with_cudnn(rows, cudnn) or rows)[0]
    rows = images(cuda=minor(need.cuda if need else version))
    if need and not need.exact:
        rows = [row for row in images() if major(row["cuda"]) == major(need.cuda) and _at_least(row["cuda"], need.cuda)]
    elif not need and not rows:  # compiled for a release of tomorrow: minor versions of CUDA are compatible
        rows = [row for row in images() if major(row["cuda"]) == major(version)]
    strict = bool(need or wanted.cudnn)
    fitting = with_cudnn(rows, cudnn) or ([] if strict and cudnn else rows)
    if not fitting:
        is_tensorflow = need is not None and need.package == "tensorflow"
        extra = "; or ask for `tensorflow[and-cuda]`, which brings its own" if is_tensorflow else ""
        removed = [row for row in images(removed=True) if need and major(row["cuda"]) == major(need.cuda)]
        if need and removed and not need.exact:
            extra = f"; or take a build of `{need.package}` for a newer CUDA"
        raise ConfigError(
            f"no matching base image for CUDA {need.cuda if need else version} and CuDNN {major(cudnn) or 'any'}",
            details="; ".join([need.why, *(["its images were removed"] if removed else [])]) if need else None,
            hint=f"set `build.cuda`, or name an image of your own in `build.base_image`{extra}",
        )
    return fitting[0]


def _name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return canonicalize_name(match[0]) if match else ""


def _asked(wheel: Wheel, *, requires: Mapping[str, Sequence[str]]) -> str:
    for name, lines in requires.items():
        for line in lines:
            if _name_of(line) == wheel.name:
                return f"{name} requires {wheel.name}, here {wheel.version},"
    return f"the packages hold {wheel.name} {wheel.version},"


def _brought_cudnn(held: Mapping[str, Wheel]) -> str:
    return next((wheel.version for name, wheel in held.items() if _CUDNN.fullmatch(name)), "")


def _libraries(held: Mapping[str, Wheel]) -> tuple[str, ...]:
    """Where NVIDIA's wheels have their libraries, below `site-packages`."""
    found = set()
    for name, wheel in held.items():
        if match := re.fullmatch(r"nvidia-(.+)-cu\d+", name):
            found.add(f"nvidia/{match[1].replace('-', '_')}/lib")
        elif re.fullmatch(r"nvidia-(?:cublas|cuda-runtime|cuda-nvrtc|cufft|curand|cusolver|cusparse|nvjitlink)", name):
            found.add(f"nvidia/cu{major(wheel.version)}/lib")
    return tuple(sorted(found))


def _at_least(version: str, bound: str) -> bool:
    return Version(minor(version)) >= Version(bound)


if __name__ == "__main__":
    import runpy

    # The program reads an index, which this module may not: it is the command line's.
    runpy.run_module("builder.cli.refresh", run_name="__main__", alter_sys=True)
