"""The decision on CUDA: evidence before the table, the table for the rest, Cog's words where nothing fits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from packaging.version import Version

from builder.cuda_matrix import Wanted, brings, decide, doubts, oldest_gpu, paragraph
from builder.data import cuda as rows
from builder.data.torch import pinned_torch, python_trouble, torch_backend
from builder.errors import ConfigError
from builder.lock import Cuda
from builder.plan import Wheel

TORCH_29 = ("torch==2.9.0", "nvidia-cuda-runtime-cu12==12.8.90", "nvidia-cudnn-cu12==9.10.2.21")
EXTRA = ("nvidia-cuda-runtime-cu12==12.5.82; extra == 'and-cuda'", "nvidia-cudnn-cu12==9.3.0.75; extra == 'and-cuda'")


def held(*pins: str) -> list[Wheel]:
    return [
        Wheel(name=name, version=version, filename=f"{name}.whl", size=1, sha256="0" * 64)
        for name, _, version in (pin.partition("==") for pin in pins)
    ]


def decided(*pins: str, requires: dict[str, Sequence[str]] | None = None, **wanted: object) -> Cuda:
    return decide(Wanted(**wanted), wheels=held(*pins), requires=requires or {})  # type: ignore[arg-type]


def test_a_torch_of_tomorrow_needs_no_row() -> None:
    assert rows.torch_row("9.1.0") is None
    requires = {"torch": ["cuda-toolkit[cublas]==14.3.1; platform_system == 'Linux'", "nvidia-cudnn-cu14==11.2.0.1"]}
    found = decided("torch==9.1.0", "cuda-toolkit==14.3.1", "nvidia-cudnn-cu14==11.2.0.1", requires=requires)
    assert (found.version, found.cudnn, found.source, found.base) == ("14.3", "11", "wheels", "none")
    assert found.driver == ""  # nobody knows it yet, and nothing is made up
    assert "torch requires cuda-toolkit, here 14.3.1, which is CUDA 14.3" in paragraph(found)


@pytest.mark.parametrize(
    ("pins", "cuda", "cudnn", "driver"),
    [
        (TORCH_29, "12.8", "9", "525.60.13"),
        (("torch==2.15.0", "nvidia-cuda-runtime==13.2.75", "nvidia-cudnn-cu13==9.26.0.51"), "13.2", "9", "580.65.06"),
        (("torch==1.13.1", "nvidia-cuda-runtime-cu11==11.7.99", "nvidia-cudnn-cu11==8.5.0"), "11.7", "8", "450.80.02"),
        (("torch==2.3.1+cu121",), "12.1", "", "525.60.13"),
        (("torch==1.9.0+cu111",), "11.1", "", "450.80.02"),
        (("torch==1.9.0",), "10.2", "", "440.33"),
        (("tensorflow==2.18.0", "nvidia-cuda-runtime-cu12==12.5.82", "nvidia-cudnn-cu12==9"), "12.5", "9", "525.60.13"),
        (("jax==0.8.0", "jax-cuda13-plugin==0.8.0", "nvidia-cuda-runtime==13.0.96"), "13.0", "", "580.65.06"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_wheels_that_bring_cuda_need_no_base(pins: tuple[str, ...], cuda: str, cudnn: str, driver: str) -> None:
    found = decided(*pins)
    assert (found.version, found.cudnn, found.driver) == (cuda, cudnn, driver)
    assert (found.base, found.image) == ("none", "")
    assert "smaller by gigabytes" in paragraph(found)


@pytest.mark.parametrize(
    ("pins", "requires", "image", "source"),
    [
        (("tensorflow==2.12.0",), {}, "11.8.0-cudnn8-runtime-ubuntu22.04", "table"),
        (("tensorflow==2.18.0",), {"tensorflow": EXTRA}, "12.5.1-cudnn-runtime-ubuntu22.04", "wheels"),
        (("onnxruntime-gpu==1.18.0",), {}, "11.8.0-cudnn8-runtime-ubuntu22.04", "table"),
        (("onnxruntime-gpu==1.22.0",), {}, "12.9.1-cudnn-runtime-ubuntu24.04", "table"),
        (
            ("onnxruntime-gpu==9.0.0",),
            {"onnxruntime-gpu": ["nvidia-cuda-runtime~=13.0; extra == 'a'", "nvidia-cudnn-cu13~=9.0; extra == 'b'"]},
            "13.2.1-cudnn-runtime-ubuntu24.04",
            "wheels",
        ),
        (("cupy-cuda12x==13.3.0",), {}, "12.9.1-cudnn-runtime-ubuntu24.04", "wheels"),
        (
            ("cupy-cuda12x==14.2.0",),
            {"cupy-cuda12x": ["cuda-toolkit[cublas]==12.*; extra == 'ctk'"]},
            "12.9.1-cudnn-runtime-ubuntu24.04",
            "wheels",
        ),
        (("paddlepaddle-gpu==2.5.2.post117",), {}, "11.8.0-cudnn8-runtime-ubuntu22.04", "wheels"),
        (("paddlepaddle-gpu==2.6.1.post120",), {}, "12.2.2-cudnn8-runtime-ubuntu22.04", "wheels"),
        (("paddlepaddle-gpu==2.6.2",), {}, "11.8.0-cudnn8-runtime-ubuntu22.04", "table"),
        (("onnxruntime-gpu==1.14.1",), {}, "11.8.0-cudnn8-runtime-ubuntu22.04", "table"),
        (("jax-cuda12-plugin==0.7.2",), {}, "12.9.1-cudnn-runtime-ubuntu24.04", "wheels"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_wheels_without_their_cuda_get_the_runtime_image(
    pins: tuple[str, ...], requires: dict[str, Sequence[str]], image: str, source: str
) -> None:
    found = decided(*pins, requires=requires)
    assert (found.image, found.base, found.source) == (f"nvidia/cuda:{image}", "runtime", source)


def test_of_two_cudas_that_of_pytorch_is_first() -> None:
    requires = {"torch": ["nvidia_cuda_runtime_cu12==12.8.90; platform_system == 'Linux'"], "jax": ["jaxlib>=1"]}
    pins = ("jax==0.10.2", "nvidia-cuda-runtime==13.5.37", "nvidia-cuda-runtime-cu12==12.8.90", "torch==2.9.0")
    found = decided(*pins, requires=requires)
    assert (found.version, found.driver) == ("12.8", "580.65.06")  # the driver is that of the newer one
    assert "7.0" in found.gpus


def test_what_one_wheel_brings_serves_another() -> None:
    found = decided(*TORCH_29, "nvidia-cublas-cu12==12.8.4.1", "onnxruntime-gpu==1.22.0")
    assert found.base == "none"
    assert found.libraries == ("nvidia/cublas/lib", "nvidia/cuda_runtime/lib", "nvidia/cudnn/lib")
    apart = decided("torch==2.15.0", "nvidia-cuda-runtime==13.2.75", "onnxruntime-gpu==1.22.0")
    assert (apart.version, apart.image) == ("13.2", "nvidia/cuda:12.9.1-cudnn-runtime-ubuntu24.04")
    assert apart.driver == "580.65.06"  # that of the newer of both


@pytest.mark.parametrize(
    "command",
    ["nvcc -o x x.cu", "python setup.py install", "FORCE_CUDA=1 pip install .", "pip install flash-attn", "cmake -B b"],
)
def test_what_compiles_gets_the_compiler_of_the_same_cuda(command: str) -> None:
    found = decided(*TORCH_29, commands=("echo", command))
    assert (found.base, found.image) == ("devel", "nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04")
    assert f"`{command}`" in paragraph(found)


@pytest.mark.parametrize("command", ["pip install git+https://example.com/x", "apt-get update", "python -m compileall"])
def test_what_does_not_compile_gets_none(command: str) -> None:
    assert decided(*TORCH_29, commands=(command,)).base == "none"


def test_cuda_by_hand_is_the_devel_image() -> None:
    found = decided(*TORCH_29, cuda="12.6")
    assert (found.image, found.source) == ("nvidia/cuda:12.6.3-cudnn-devel-ubuntu24.04", "config")
    assert decided(cuda="11.8").image == "nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04"
    assert decided(cuda="11.8.0", cudnn="8").cudnn == "8"


def test_wishes_for_a_base() -> None:
    assert decided(*TORCH_29, base="cuda").image == "nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04"
    assert decided("tensorflow==2.12.0", base="none").base == "none"
    given = decided("tensorflow==2.12.0", given=True)
    assert (given.base, given.image, given.version) == ("given", "", "11.8")


def test_nothing_known_is_what_cog_takes() -> None:
    assert decided("numpy==2.0.0").image == "nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04"
    assert decided("numpy==2.0.0", commands=("make",)).image == "nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04"


def test_a_build_for_the_cpu_uses_none() -> None:
    found = decided("torch==2.9.0", machine="arm64")
    assert (found.version, found.base) == ("", "none")
    assert paragraph(found).startswith("No CUDA: torch is a build without CUDA")


def test_a_compiler_for_a_cuda_without_image_is_the_nearest() -> None:
    found = decided("torch==9.0", "nvidia-cuda-runtime==13.7.1", commands=("nvcc x.cu",))
    assert found.image == "nvidia/cuda:13.2.1-cudnn-devel-ubuntu24.04"


@pytest.mark.parametrize(
    ("pin", "wanted", "message"),
    [
        (
            "tensorflow==2.12.0",
            {"cuda": "12.1"},
            "TensorFlow 2.12.0 is incompatible with CUDA 12.1: TensorFlow 2.12.0 requires CUDA 11.8",
        ),
        (
            "tensorflow==2.12.0",
            {"cudnn": "9"},
            "the specified cuDNN version 9 is not compatible with tensorflow==2.12.0. Compatible cuDNN version is: 8",
        ),
        (
            "numpy==2.0",
            {"cuda": "11.8", "cudnn": "9"},
            "the specified CUDA version 11.8 is not compatible with CuDNN 9. Compatible CuDNN versions are: 8",
        ),
        ("numpy==2.0", {"cuda": "12.7"}, "CUDA 12.7 is not supported by Cogsmith"),
        ("numpy==2.0", {"cuda": "10.2"}, "CUDA 10.2 is not supported by Cogsmith"),
        ("tensorflow==2.17.0", {}, "no matching base image for CUDA 12.3 and CuDNN 8"),
        ("paddlepaddle-gpu==2.5.2", {}, "no matching base image for CUDA 10.2 and CuDNN 7"),
    ],
)  # fmt: skip
def test_what_cannot_work_in_the_words_of_cog(pin: str, wanted: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decided(pin, **wanted)
    assert caught.value.brief == message
    assert caught.value.hint


def test_removed_images_are_named_as_such() -> None:
    with pytest.raises(ConfigError) as caught:
        decided(cuda="10.2")
    assert "were removed" in str(caught.value.details)

    with pytest.raises(ConfigError) as caught:
        decided("paddlepaddle-gpu==2.5.2")
    assert "were removed" in str(caught.value.details)
    assert "for a newer CUDA" in str(caught.value.hint)


def test_paddle_since_3_brings_its_cuda() -> None:
    requires = {"paddlepaddle-gpu": ["nvidia-cuda-runtime-cu12==12.6.77", "nvidia-cudnn-cu12==9.5.1.17"]}
    pins = ("paddlepaddle-gpu==3.2.0", "nvidia-cuda-runtime-cu12==12.6.77", "nvidia-cudnn-cu12==9.5.1.17")
    found = decided(*pins, requires=requires)
    assert (found.version, found.cudnn, found.base) == ("12.6", "9", "none")


def test_gpus_by_the_machine() -> None:
    """From the scripts that build the wheels; the CPUs differ in the GPUs that are sold with them."""
    assert rows.architectures("2.13.0", cuda="13.0") == ("7.5", "8.0", "8.6", "9.0", "10.0", "12.0")
    assert rows.architectures("2.13.0", cuda="13.0", machine="arm64") == ("8.0", "9.0", "10.0", "11.0", "12.0")
    assert rows.architectures("2.0.1+cu118", cuda="11.8")[0] == "3.7"
    assert rows.architectures("2.9.0", cuda="12.8", machine="arm64") == ()
    assert rows.architectures("nightly", cuda="12.8") == ()


def test_a_torchvision_stands_for_its_torch() -> None:
    assert pinned_torch({"torchvision": "0.10.0"}) == "1.9.0"
    assert pinned_torch({"torchvision": "0.10.0+cu111", "torch": "2.3.1"}) == "2.3.1"
    assert pinned_torch({"torchvision": "99.0"}) is None
    assert pinned_torch({}) is None


def test_the_oldest_gpu_of_a_cuda() -> None:
    assert [oldest_gpu(cuda) for cuda in ("11.8", "12.9", "13.3", "14.0", "")] == ["3.5", "5.0", "7.5", "", ""]


def test_a_cuda_that_torch_does_not_know_is_a_warning() -> None:
    wanted = Wanted(cuda="12.3")
    (said,) = doubts(wanted, wheels=held("torch==2.3.1"))
    assert said.startswith("Cog doesn't know if CUDA 12.3 is compatible with PyTorch 2.3.1.")
    assert said.endswith("This might cause CUDA problems. Try 12.1 instead?")
    assert not doubts(wanted, wheels=held("torch==9.9.0"))
    assert not doubts(Wanted(cuda="12.1"), wheels=held("torch==2.3.1"))
    assert not doubts(Wanted(cuda="11.7"), wheels=held("torch==1.13.1"))  # replicate/cog#1043


@pytest.mark.parametrize(
    ("version", "cuda", "backend"),
    [
        ("2.3.1", "12.4", "cu121"),
        ("2.3.1", "11.8", "cu118"),
        ("2.9.0", "11.8", ""),
        ("2.11.0", "12.9", "cu129"),
        ("2.9.0", None, ""),
        ("1.9.0", None, "cu111"),
        ("1.10.1", None, "cu113"),  # replicate/cog#390
        ("1.12.1", "11.5", "cu113"),
        ("9.9.0", "14.1", "cu141"),
        (None, "12.6", "cu126"),
        (None, None, ""),
    ],
)
def test_which_builds_of_torch(version: str | None, cuda: str | None, backend: str) -> None:
    assert torch_backend(version, cuda=cuda) == backend


def test_pythons_that_a_framework_has_no_build_for() -> None:
    said = python_trouble({"torch": "1.9.0"}, python="3.12")
    assert said == ("torch 1.9.0 is incompatible with Python 3.12: there are builds for Python 3.6, 3.7, 3.8, 3.9")
    assert python_trouble({"torch": "1.9.0", "tensorflow": "2.12.0"}, python="3.9") is None
    assert python_trouble({"torch": "9.9.0"}, python="3.99") is None


def test_the_runtime_of_one_major_is_no_other() -> None:
    assert brings(held("nvidia-cuda-runtime-cu11==2022.4.25"), requires={}) == ([], [])


def test_every_row_has_a_known_source() -> None:
    table = rows.table()
    for kind, lines in table.items():
        if kind != "sources":
            assert lines, kind
            for row in lines:
                assert row["source"], row
                assert set(row["source"]) <= set(table["sources"]), row


def test_the_rows_agree_with_each_other() -> None:
    table = rows.table()
    known = {row["version"] for row in table["cuda"]}
    versions = [Version(row["version"]) for row in table["torch"]]
    assert versions == sorted(set(versions))
    assert (versions[0], versions[-1]) >= (Version("1.7.0"), Version("2.15.0"))
    for row in table["torch"]:
        assert row["default"] in row["cuda"], row
        assert set(row["cuda"]) <= known, row
        assert row["pythons"] == sorted(row["pythons"], key=Version)
    for row in table["tensorflow"]:
        assert row["cuda"] in known, row
    assert {row["version"] for row in table["tensorflow"]} == {f"2.{minor}" for minor in range(4, 22)}
    for row in table["images"]:
        assert rows.minor(row["cuda"]) in known, row
        assert set(row["ubuntu"]) <= set(rows.GLIBC)
        assert ("removed" in row) == (rows.major(row["cuda"]) == "10")
    for row in table["cuda"]:
        if row["version"] != "11.0":  # whose driver was replaced (a footnote of the release notes)
            assert Version(row["driver"]) <= Version(row.get("toolkit_driver", row["driver"]))


def test_cog_builds_on_the_same_devel_images() -> None:
    """Observed of Cog: the image for some CUDA and cuDNN (highest patch, then highest Ubuntu)."""
    assert rows.tag(rows.images(cuda="11.8")[0], variant="devel") == "nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04"
    assert rows.tag(rows.images(cuda="12.6")[0], variant="devel") == "nvidia/cuda:12.6.3-cudnn-devel-ubuntu24.04"
    assert rows.tag(rows.images(cuda="12.6")[0], variant="base") == "nvidia/cuda:12.6.3-base-ubuntu24.04"


def test_glibc_by_the_tag() -> None:
    assert rows.glibc_of("nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04") == "2.39"
    assert rows.glibc_of("nvidia/cuda:12.8.1-base-ubi9") is None
    assert rows.glibc_of("someone/cuda:12.8.1-cudnn-devel-ubuntu24.04") is None
