"""What is right by the rules and yet hardly meant: each lint with its evidence and what to do.

Pure: looks at the configuration, the lock and the names in the project, and at nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from builder import cuda_matrix
from builder.config import Config
from builder.data.cuda import major, minor
from builder.frozen import frozen
from builder.lock import Cuda, ImageBase, Lock
from builder.plan import Entry


@frozen
class Lint:
    """One finding: `name` to look it up by (docs/cuda.md), `evidence` what was seen, `hint` what to do."""

    name: str
    evidence: str
    hint: str


_SAME = (
    ("cv2", ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")),
    ("tensorflow", ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "intel-tensorflow")),
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-training")),
    ("cupy", ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")),
    ("faiss", ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")),
    ("PIL", ("pillow", "pillow-simd")),
    ("psycopg2", ("psycopg2", "psycopg2-binary")),
    ("paddle", ("paddlepaddle", "paddlepaddle-gpu")),
)
"""Distributions that install the same module: the last one to be unpacked wins, file by file."""

_MODULES = {
    "opencv-python": "cv2",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "pyyaml": "yaml",
}
_VENDORED = frozenset(
    {"", "vendor", "vendored", "_vendor", "third_party", "thirdparty", "extern", "external", "site-packages"}
)
_COMPILERS = re.compile(r"deepspeed|cupy(-cuda\d+x)?|pycuda|tilelang|torch-tensorrt|flash-attn")
"""Packages that compile for CUDA while they run."""
_FOR_GPU = re.compile(r"(onnxruntime|tensorflow|paddlepaddle)-gpu|faiss-gpu(-cu\d+)?|cupy-cuda\d+x|jax-cuda\d+-plugin")
"""Packages that are of use on a GPU only."""

_CACHES = (
    (re.compile(r"(^|/)(\.cache/pip|\.cache/uv|pip-cache|\.pip-cache)/"), "pip's or uv's"),
    (re.compile(r"(^|/)(\.conda/pkgs|(mini|ana)conda3?/pkgs|conda-pkgs)/"), "conda's"),
    (re.compile(r"(^|/)(var/cache/apt/archives|var/lib/apt/lists)/"), "apt's"),
)
_COMMAND_CACHES = (
    (re.compile(r"\bpip3?\s+install\b"), re.compile(r"--no-cache-dir|PIP_NO_CACHE_DIR"), "pip", "`--no-cache-dir`"),
    (re.compile(r"\b(?:conda|mamba)\s+install\b"), re.compile(r"\bclean\b"), "conda", "`&& conda clean -afy`"),
)
"""A command, what in it prevents a cache, the tool, what to add.  Of apt's, the packer drops the lists by itself."""

_ARCHES = re.compile(r"TORCH_CUDA_ARCH_LIST=[\"']?([0-9.;+, PTX]+)")


def lint(config: Config, *, lock: Lock, code: Sequence[Entry] = ()) -> tuple[Lint, ...]:
    """All findings, in a fixed order; `code` are the files of the project."""
    checks: tuple[Callable[[Config, Lock, Sequence[Entry]], Iterator[Lint]], ...] = (
        _two_runtimes,
        _devel,
        _other_gpu,
        _caches,
        _twice,
    )
    return tuple(found for check in checks for found in check(config, lock, code))


def _two_runtimes(config: Config, lock: Lock, code: Sequence[Entry]) -> Iterator[Lint]:
    del config, code
    machine = lock.platform.rpartition("/")[2]
    held, _ = cuda_matrix.brings(lock.wheels, requires={}, machine=machine)
    if len({major(cuda) for cuda in held}) > 1:
        names = [f"{wheel.name} {wheel.version}" for wheel in lock.wheels if _names_cuda(wheel.name, wheel.version)]
        yield Lint(
            name="two-cuda-runtimes",
            evidence=f"the packages bring CUDA {' and CUDA '.join(held)}: {', '.join(names)}",
            hint="choose versions of these packages that are built for one CUDA",
        )
    below = _cuda_of_base(lock)
    if held and below and minor(below) not in {minor(cuda) for cuda in held}:
        yield Lint(
            name="two-cuda-runtimes",
            evidence=f"the packages bring CUDA {held[0]}, and the base `{_reference(lock)}` has CUDA {below}",
            hint=f"set `build.cuda` to {held[0]}, or leave it out: the packages need no CUDA below",
        )


def _names_cuda(name: str, version: str) -> bool:
    return bool(cuda_matrix.of_tag(version)) or bool(re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?|cuda-toolkit", name))


def _devel(config: Config, lock: Lock, code: Sequence[Entry]) -> Iterator[Lint]:
    del code
    reference = _reference(lock)
    if "-devel" not in reference:
        return
    commands = [*(item.command for item in config.commands), *config.pre_install]
    if any(map(cuda_matrix.compiles, commands)) or any(_COMPILERS.fullmatch(wheel.name) for wheel in lock.wheels):
        return
    smaller = reference.replace("-devel", "-runtime")
    yield Lint(
        name="devel-base",
        evidence=f"the base `{reference}` has the compiler, and "
        + (
            "no command of `build.run` looks as if it compiled"
            if commands
            else "there is no command that would compile"
        ),
        hint=f"name `{smaller}` in `build.base_image`, which is smaller by gigabytes"
        + ("; or leave out `build.cuda`" if config.cuda else ""),
    )


def _other_gpu(config: Config, lock: Lock, code: Sequence[Entry]) -> Iterator[Lint]:
    del code
    cuda = lock.cuda
    held, how = cuda_matrix.brings(lock.wheels, requires={}, machine=lock.platform.rpartition("/")[2])
    if cuda is None:
        named = [f"{wheel.name} {wheel.version}" for wheel in lock.wheels if _FOR_GPU.fullmatch(wheel.name)]
        if held or named:
            text = (
                f"{how[0]}, and" if held else f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} for a GPU, and"
            )
            yield Lint(
                name="gpu-packages",
                evidence=f"{text} `build.gpu` is not set",
                hint="set `gpu: true` under `build`, or ask for the builds for a CPU",
            )
        return
    for wheel in lock.wheels:
        local = wheel.version.partition("+")[2]
        if wheel.name in ("torch", "torchvision", "jaxlib") and (local == "cpu" or local.startswith("rocm")):
            yield Lint(
                name="other-gpu",
                evidence=f"{wheel.name} {wheel.version} is a build for {'a CPU' if local == 'cpu' else 'AMD GPUs'}, and"
                " `build.gpu` is set",
                hint=f"ask for {wheel.name} without `+{local}`",
            )
        own = (
            re.search(r"(?:cuda|cu)(1[0-9])", f"{wheel.name}+{local}") if not wheel.name.startswith("nvidia-") else None
        )
        if own and cuda.version and own[1] not in {major(cuda.version), *map(major, held)}:
            yield Lint(
                name="other-gpu",
                evidence=f"{wheel.name} {wheel.version} is for CUDA {own[1]}, and the image has CUDA {cuda.version}",
                hint=f"take the build for CUDA {major(cuda.version)}",
            )
    if not cuda.version:
        yield Lint(
            name="other-gpu",
            evidence="`build.gpu` is set, and " + "; ".join(cuda.reasons[:1]),
            hint="ask for packages with CUDA (`jax[cuda12]`, `torch` from an index that has it), or take out `gpu`",
        )
    yield from _arch_list(config, cuda)


def _arch_list(config: Config, cuda: Cuda) -> Iterator[Lint]:
    texts = [f"{name}={value}" for name, value in config.environment] + [item.command for item in config.commands]
    asked = {arch for text in texts for found in _ARCHES.findall(text) for arch in re.findall(r"\d+\.\d", found)}
    lacking = sorted(
        (arch for arch in asked if not runs(arch, cuda.gpus)), key=lambda arch: tuple(map(int, arch.split(".")))
    )
    if cuda.gpus and lacking:
        yield Lint(
            name="other-gpu",
            evidence=f"TORCH_CUDA_ARCH_LIST names {', '.join(lacking)}; PyTorch has code for {', '.join(cuda.gpus)}",
            hint="name only GPUs that PyTorch has code for, or take a build of PyTorch that has code for these",
        )


def runs(arch: str, gpus: Sequence[str]) -> bool:
    """Code for 8.0 runs on 8.6, not the other way round (CUDA C++ programming guide, binary compatibility)."""
    return any(major(gpu) == major(arch) and int(gpu.split(".")[1]) <= int(arch.split(".")[1]) for gpu in gpus)


def _caches(config: Config, lock: Lock, code: Sequence[Entry]) -> Iterator[Lint]:
    del lock
    for pattern, whose in _CACHES:
        files = [entry for entry in code if entry.type == "file" and pattern.search(entry.path)]
        if files:
            yield Lint(
                name="cache-in-layer",
                evidence=f"{len(files)} file{'s' * (len(files) > 1)} of {whose} cache would be in the image, such as"
                f" `{files[0].path}`",
                hint="name the folder in `.dockerignore`",
            )
    quiet = dict(config.environment).get("PIP_NO_CACHE_DIR")
    for item in config.commands:
        for pattern, without, tool, instead in _COMMAND_CACHES:
            if pattern.search(item.command) and not without.search(item.command) and not (tool == "pip" and quiet):
                yield Lint(
                    name="cache-in-layer",
                    evidence=f"`{item.command}` leaves what {tool} downloaded in the layer",
                    hint=f"add {instead} to the command",
                )


def _twice(config: Config, lock: Lock, code: Sequence[Entry]) -> Iterator[Lint]:
    del config
    names = {wheel.name: wheel.version for wheel in lock.wheels}
    for module, owners in _SAME:
        held = [f"{name} {names[name]}" for name in owners if name in names]
        if len(held) > 1:
            yield Lint(
                name="package-twice",
                evidence=f"{' and '.join(held)} install the same module `{module}`",
                hint="keep one of them; `cogsmith why NAME` says who asks for the other",
            )
    modules = {_MODULES.get(name, name.replace("-", "_")): name for name in names}
    for entry in code:
        parent, _, last = entry.path.rpartition("/")
        folder, _, module = parent.rpartition("/")
        if last == "__init__.py" and module in modules and folder.rpartition("/")[2] in _VENDORED:
            name = modules[module]
            yield Lint(
                name="package-twice",
                evidence=f"`{parent}` in the project and the package {name} {names[name]} are the same module",
                hint=f"take {name} out of the requirements, or the folder out of the image (`.dockerignore`)",
            )


def _reference(lock: Lock) -> str:
    return lock.base.reference if isinstance(lock.base, ImageBase) else ""


def _cuda_of_base(lock: Lock) -> str:
    match = re.search(r"(?:^|/)nvidia/cuda:(\d+\.\d+)", _reference(lock))
    return match[1] if match else ""
