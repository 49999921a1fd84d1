"""Each lint where it belongs, and silence where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from builder.config import Command, Config
from builder.cuda_matrix import Wanted, decide
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import Entry, Interpreter, Wheel
from builder.resolve.lints import Lint, lint

RUNTIME = "nvidia-cuda-runtime-cu12==12.8.90"
GPU = Config(gpu=True)


def locked(*pins: str, base: str = "", gpu: bool = True, **wanted: object) -> Lock:
    wheels = tuple(
        Wheel(name=name, version=version, filename="x.whl", size=1, sha256="0" * 64)
        for name, _, version in (pin.partition("==") for pin in pins)
    )
    decision = decide(Wanted(**wanted), wheels=wheels, requires={}) if gpu else None  # type: ignore[arg-type]
    image = base or (decision.image if decision else "")
    debian = DebianBase(suite="bookworm", architecture="amd64", debs=())
    foreign = ImageBase(reference=image, digest="sha256:0", media_type="x", size=1, layers=())
    return Lock(
        config_hash="",
        platform="linux/amd64",
        interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
        base=foreign if image else debian,
        wheels=wheels,
        runtime_version="",
        runtime_wheels=(),
        cuda=decision,
    )


def names(config: Config, lock: Lock, *paths: str) -> list[str]:
    return [found.name for found in run(config, lock, *paths)]


def run(config: Config, lock: Lock, *paths: str) -> tuple[Lint, ...]:
    found = lint(config, lock=lock, code=[Entry(path=path) for path in paths])
    assert all(one.evidence and one.hint for one in found)
    return found


def with_commands(*commands: str, **more: object) -> Config:
    made = tuple(Command(command=command) for command in commands)
    return dataclasses.replace(GPU, commands=made, **more)  # type: ignore[arg-type]


def test_two_runtimes_of_the_packages() -> None:
    assert names(GPU, locked("torch==2.9.0", RUNTIME)) == []
    (found,) = run(GPU, locked("torch==2.9.0", RUNTIME, "nvidia-cuda-runtime-cu11==11.8.89"))
    assert found.name == "two-cuda-runtimes"
    assert "nvidia-cuda-runtime-cu12 12.8.90" in found.evidence
    assert "nvidia-cuda-runtime-cu11 11.8.89" in found.evidence


def test_another_runtime_below() -> None:
    hand = dataclasses.replace(with_commands("nvcc x.cu"), cuda="11.8")
    assert names(hand, locked("torch==2.9.0", RUNTIME, cuda="11.8", commands=("nvcc x.cu",))) == ["two-cuda-runtimes"]
    same = locked("torch==2.9.0", RUNTIME, commands=("nvcc x.cu",))
    assert names(with_commands("nvcc x.cu"), same) == []


def test_a_compiler_that_nothing_needs() -> None:
    by_hand = dataclasses.replace(GPU, cuda="12.8")
    (found,) = run(by_hand, locked("torch==2.9.0", RUNTIME, cuda="12.8"))
    assert found.name == "devel-base"
    assert "12.8.1-cudnn-runtime-ubuntu24.04" in found.hint
    assert names(by_hand, locked("torch==2.9.0", RUNTIME, "deepspeed==0.18.0", cuda="12.8")) == []
    compiling = dataclasses.replace(with_commands("python setup.py install"), cuda="12.8")
    assert names(compiling, locked("torch==2.9.0", RUNTIME, cuda="12.8")) == []


@pytest.mark.parametrize(
    ("pins", "seen"),
    [
        (("torch==2.9.0+cpu",), "torch 2.9.0+cpu is a build for a CPU"),
        (("torch==2.9.0+rocm6.4",), "AMD GPUs"),
        (("torch==2.9.0", RUNTIME, "cupy-cuda11x==13.0"), "cupy-cuda11x 13.0 is for CUDA 11"),
        (("torch==2.9.0", RUNTIME, "flash-attn==2.8+cu13torch2.9"), "is for CUDA 13"),
        (("jax==0.8.0", "jaxlib==0.8.0"), "`build.gpu` is set"),
    ],
)
def test_builds_for_something_else(pins: Sequence[str], seen: str) -> None:
    found = run(GPU, locked(*pins))
    assert any(one.name == "other-gpu" and seen in one.evidence for one in found), found


def test_builds_that_fit() -> None:
    fitting = ("torch==2.9.0", RUNTIME, "cupy-cuda12x==13.0", "flash-attn==2.8+cu12torch2.9", "nvidia-nccl-cu12==2.27")
    assert names(GPU, locked(*fitting)) == []


def test_architectures_that_torch_has_no_code_for() -> None:
    lock = locked("torch==2.9.0+cu126")
    assert lock.cuda
    assert lock.cuda.gpus[-1] == "9.0"
    asked = dataclasses.replace(GPU, environment=(("TORCH_CUDA_ARCH_LIST", "8.6;12.0+PTX"),))
    (found,) = run(asked, lock)
    assert found.name == "other-gpu"
    assert "TORCH_CUDA_ARCH_LIST names 12.0;" in found.evidence
    newer = dataclasses.replace(GPU, environment=(("TORCH_CUDA_ARCH_LIST", "8.9"),))
    assert names(newer, lock) == []  # code for 8.6 runs on 8.9


def test_a_package_for_the_other_of_two_cudas_is_at_home() -> None:
    both = locked("torch==2.9.0", RUNTIME, "jax-cuda13-plugin==0.10.2", "nvidia-cuda-runtime==13.5.37")
    assert names(GPU, both) == ["two-cuda-runtimes"]


def test_gpu_packages_without_gpu() -> None:
    assert names(Config(), locked("torch==2.9.0", RUNTIME, gpu=False)) == ["gpu-packages"]
    (found,) = run(Config(), locked("onnxruntime-gpu==1.26.0", "onnx==1.19.0", gpu=False))
    assert found.evidence == "onnxruntime-gpu 1.26.0 is for a GPU, and `build.gpu` is not set"
    assert names(Config(), locked("torch==2.9.0+cpu", gpu=False)) == []


@pytest.mark.parametrize(
    "path",
    [
        ".cache/pip/http/a",
        "work/.cache/uv/x",
        "miniconda3/pkgs/numpy.conda",
        "root/var/cache/apt/archives/x.deb",
        "x/var/lib/apt/lists/y",
    ],
)
def test_caches_in_the_code(path: str) -> None:
    lock = locked(gpu=False)
    assert names(Config(), lock, "run.py", path) == ["cache-in-layer"]
    assert names(Config(), lock, "run.py", "cache/pip.py", "pkgs/x", "var/lib/apt.txt") == []


@pytest.mark.parametrize(
    ("command", "wasteful"),
    [
        ("pip install x", True),
        ("pip3 install --upgrade x", True),
        ("pip install --no-cache-dir x", False),
        ("PIP_NO_CACHE_DIR=1 pip install x", False),
        ("conda install x", True),
        ("conda install x && conda clean -afy", False),
        ("echo pipinstall", False),
    ],
)
def test_caches_that_commands_leave(command: str, wasteful: bool) -> None:
    lock = locked(gpu=False)
    config = Config(commands=(Command(command=command),))
    assert names(config, lock) == ["cache-in-layer"] * wasteful
    if "pip" in command:
        assert names(dataclasses.replace(config, environment=(("PIP_NO_CACHE_DIR", "1"),)), lock) == []


def test_the_same_module_from_two_packages() -> None:
    (found,) = run(Config(), locked("opencv-python==4.12", "opencv-python-headless==4.12", gpu=False))
    assert found.name == "package-twice"
    assert "`cv2`" in found.evidence
    assert names(Config(), locked("opencv-python-headless==4.12", "numpy==2.0", gpu=False)) == []


@pytest.mark.parametrize(
    ("path", "twice"),
    [
        ("segment_anything/__init__.py", True),
        ("third_party/segment_anything/__init__.py", True),
        ("models/segment_anything/__init__.py", False),
        ("segment_anything.py", False),
        ("cv2/__init__.py", True),
    ],
)
def test_a_folder_that_is_also_a_package(path: str, twice: bool) -> None:
    lock = locked("segment-anything==1.0", "opencv-python==4.12", gpu=False)
    assert names(Config(), lock, "run.py", path) == ["package-twice"] * twice
