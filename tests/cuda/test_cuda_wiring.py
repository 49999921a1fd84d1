"""What the decision on CUDA does elsewhere: in `cog.yaml`, in the resolution, in the image's configuration."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest

from builder.cli.building import open_project
from builder.cli.console import Console
from builder.cli.options import BuildOptions
from builder.cli.settings import read
from builder.compile import compile_plan
from builder.config import Config, config_hash, load, unsupported
from builder.cuda_matrix import cog_cuda
from builder.errors import ConfigError
from builder.lock import Cuda, DebianBase, ImageBase, Lock
from builder.plan import Interpreter
from builder.resolve import cuda
from builder.resolve.wheels import UnsatisfiableError
from tests.conftest import Cogsmith

GPU = Config(gpu=True, python_version="3.11")
LOCK = Lock(
    config_hash="",
    platform="linux/amd64",
    interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
    base=DebianBase(suite="bookworm", architecture="amd64", debs=()),
    wheels=(),
    runtime_version="0.1.0",
    runtime_wheels=(),
)


def image(config: Config, lock: Lock) -> tuple[dict[str, str], dict[str, object]]:
    """The environment and the label `run.cog.config` of the image."""
    plan = compile_plan(config, lock=lock, code=(), large=(), runtime=(), schema=None, version="0.1.0")
    label = json.loads(dict(plan.config.labels)["run.cog.config"])
    return dict(plan.config.env), label["build"]


def test_the_image_of_a_model_with_a_gpu() -> None:
    decision = Cuda(version="12.8", cudnn="9", libraries=("nvidia/cublas/lib", "nvidia/cudnn/lib"))
    env, build = image(GPU, dataclasses.replace(LOCK, cuda=decision))
    assert (env["NVIDIA_VISIBLE_DEVICES"], env["NVIDIA_DRIVER_CAPABILITIES"]) == ("all", "all")
    packages = "/opt/venv/lib/python3.11/site-packages/nvidia"
    assert env["LD_LIBRARY_PATH"].startswith(f"{packages}/cublas/lib:{packages}/cudnn/lib:/usr/lib/x86_64-linux-gnu:")
    assert (build["gpu"], build["cuda"], build["cudnn"]) == (True, "12.8", "9")


def test_the_image_of_a_model_without() -> None:
    env, build = image(Config(python_version="3.11"), LOCK)
    assert "NVIDIA_VISIBLE_DEVICES" not in env
    assert not {"gpu", "cuda", "cudnn"} & build.keys()


def test_what_the_file_says_stays_in_the_label() -> None:
    by_hand = dataclasses.replace(GPU, cuda="11.8.0")
    _, build = image(by_hand, dataclasses.replace(LOCK, cuda=Cuda(version="11.8", cudnn="8")))
    assert (build["cuda"], build["cudnn"]) == ("11.8.0", "8")


def test_the_keys_act_and_count_with_a_gpu_only() -> None:
    text = 'build:\n  python_version: "3.11"\n  cuda: "11.8"\n  cudnn: 8\nrun: "run.py:Runner"\n'
    alone = load(text, path=Path("cog.yaml"))
    assert [line for line in alone.warnings if "counts with `gpu: true` only" in line] == [
        "`build.cuda` counts with `gpu: true` only (line 3, column 9)",
        "`build.cudnn` counts with `gpu: true` only (line 4, column 10)",
    ]
    both = load(text.replace("  cuda", "  gpu: true\n  cuda"), path=Path("cog.yaml"))
    assert not both.warnings
    assert not unsupported(both)


def test_a_cudnn_that_no_image_of_the_cuda_has_is_said_with_its_place() -> None:
    text = 'build:\n  gpu: true\n  python_version: "3.11"\n  cuda: "11.8"\n  cudnn: "9"\nrun: "run.py:Runner"\n'
    with pytest.raises(ConfigError) as caught:
        load(text, path=Path("cog.yaml"))
    said = "build.cudnn: CUDA 11.8 is incompatible with CuDNN 9: compatible CuDNN versions are: 8 (line 5, column 10)"
    assert said in str(caught.value.details)
    assert load(text.replace('"9"', "8.6"), path=Path("cog.yaml")).cudnn == "8.6"
    assert load(text.replace("11.8", "99.1"), path=Path("cog.yaml")).cudnn == "9"  # not known here


def test_a_wish_of_the_command_line_is_part_of_what_a_lock_answers() -> None:
    hashes = {config_hash(dataclasses.replace(GPU, cuda_base=wish), "") for wish in (None, True, False)}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("config", "text", "builds"),
    [
        (Config(), "torch==2.3.1\n", "cpu"),
        (GPU, "torch==2.9.0\n", ""),
        (GPU, "numpy\ntorch == 1.9.0  # old\n", "cu111"),
        (GPU, "torch[opt-einsum]==1.12.1\n", "cu116"),
        (dataclasses.replace(GPU, cuda="12.4"), "torch==2.3.1\n", "cu121"),
        (dataclasses.replace(GPU, cuda="12.4"), "torch\n", "cu124"),
        (dataclasses.replace(GPU, cuda="12.4"), "pytorch-lightning==2.3.1\ntorchvision==0.18.1\n", "cu121"),
        (GPU, "torchvision==0.10.0\n", "cu111"),
    ],
)
def test_which_builds_of_torch_a_project_gets(config: Config, text: str, builds: str) -> None:
    assert cuda.accelerator(config, text=text) == builds


def test_the_image_to_begin_with() -> None:
    devel = "nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04"
    assert cuda.first_image(dataclasses.replace(GPU, cuda="12.8"), old=None) == devel
    assert cuda.first_image(dataclasses.replace(GPU, cuda="12.8", cuda_base=False), old=None) == ""
    assert cuda.first_image(dataclasses.replace(GPU, cuda="12.8", base_image="mine"), old=None) == ""
    assert cuda.first_image(GPU, old=None) == ""
    below = ImageBase(reference="nvidia/cuda:x", digest="sha256:0", media_type="m", size=1, layers=())
    before = dataclasses.replace(LOCK, base=below, cuda=Cuda(base="runtime", image="nvidia/cuda:x"))
    assert cuda.first_image(GPU, old=before) == "nvidia/cuda:x"
    assert cuda.first_image(Config(), old=before) == ""


def test_a_python_that_a_framework_has_no_build_for_is_said_in_one_sentence() -> None:
    problem = UnsatisfiableError("no solution", details="what uv said")
    said = cuda.explained(problem, text="torch==1.9.0\n", python="3.12.4")
    assert said.brief.startswith("torch 1.9.0 is incompatible with Python 3.12: ")
    assert said.details == "what uv said"
    assert cuda.explained(problem, text="torch==9.9.0\nnumpy==1.0\n", python="3.12") is problem
    assert cuda.explained(problem, text="torch==1.9.0\n", python=None) is problem


def test_the_cuda_of_a_cog_base() -> None:
    assert (cog_cuda("2.5.1"), cog_cuda("9.9.0"), cog_cuda(None)) == ("12.4", "11.8", "11.8")


@pytest.mark.parametrize(
    ("build", "wish", "taken"),
    [
        ("gpu: true", True, True),
        ("gpu: true", False, False),
        ("gpu: true, base_image: mine", True, None),
        ("", True, None),
    ],
)
def test_wishes_for_a_base(tmp_path: Path, build: str, wish: bool, taken: bool | None) -> None:
    (tmp_path / "cog.yaml").write_text(f'build: {{python_version: "3.11", {build}}}\nrun: "run.py:Runner"\n')
    opened = open_project(
        tmp_path, options=BuildOptions(cuda_base=wish), settings=read(), console=Console(io.StringIO())
    )
    assert opened.config.cuda_base is taken


def test_two_wishes_for_a_base_exclude_each_other(cogsmith: Cogsmith, tmp_path: Path) -> None:
    done = cogsmith("plan", "--base", "cuda", "--use-cuda-base-image=false", cwd=tmp_path, ok=False)
    assert done.code == 2
    assert "--use-cuda-base-image and --base are mutually exclusive" in done.err
