"""The driver of a machine, from trees and programs that look like NVIDIA's: no GPU is needed, and none is used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from builder.cli.doctor.driver import Machine, check, compare, look
from builder.cli.settings import read
from builder.lock import Cuda

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build  (root@x)\nGCC version: 13.2.0\n"
)
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  gcc 11\n"
)
CUDA = Cuda(version="12.8", driver="525.60.13", gpus=("7.5", "8.0", "9.0"))


def smi(folder: Path, *lines: str, code: int = 0) -> dict[str, str]:
    """A program `nvidia-smi` that says these lines, on the `PATH` of the environment that comes back."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {code}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize(("text", "driver"), [(OPEN, "560.35.03"), (CLOSED, "550.54.15")])
def test_what_the_kernel_says(tmp_path: Path, text: str, driver: str) -> None:
    path = tmp_path / "proc/driver/nvidia/version"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert look(tmp_path, env={}) == Machine(driver=driver)


@pytest.mark.parametrize(
    "library", ["usr/lib/x86_64-linux-gnu/libcuda.so.570.124.06", "usr/lib64/libnvidia-ml.so.570.124.06"]
)
def test_what_the_libraries_are_called(tmp_path: Path, library: str) -> None:
    path = tmp_path / library
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    path.with_name(path.name.partition(".so.")[0] + ".so.1").symlink_to(path.name)
    assert look(tmp_path, env={}) == Machine(driver="570.124.06")


def test_what_nvidia_smi_says(tmp_path: Path) -> None:
    env = smi(tmp_path / "bin", "535.104.05, 8.0, NVIDIA A100-SXM4-40GB", "535.104.05, 8.9, NVIDIA L4")
    found = Machine(driver="535.104.05", gpus=(("NVIDIA A100-SXM4-40GB", "8.0"), ("NVIDIA L4", "8.9")))
    assert look(tmp_path, env=env) == found


def test_an_nvidia_smi_without_a_driver(tmp_path: Path) -> None:
    env = smi(tmp_path / "bin", "NVIDIA-SMI has failed because it could not communicate", code=9)
    assert look(tmp_path, env=env) is None


def test_no_driver(tmp_path: Path) -> None:
    assert look(tmp_path, env={"PATH": ""}) is None


def test_a_driver_that_is_new_enough() -> None:
    machine = Machine(driver="525.60.13", gpus=(("L4", "8.9"), ("H100", "9.0")))
    assert [(one.level, "525.60.13" in one.text) for one in compare(CUDA, machine=machine)] == [("ok", True)]


def test_a_driver_that_is_too_old() -> None:
    (found,) = compare(CUDA, machine=Machine(driver="470.223.02"))
    assert found.level == "warning"
    assert "470.223.02" in found.text
    assert "525.60.13" in found.details


def test_a_gpu_without_code() -> None:
    _, found = compare(CUDA, machine=Machine(driver="580.65.06", gpus=(("RTX 5090", "12.0"), ("T4", "7.5"))))
    assert found.level == "warning"
    assert "RTX 5090" in found.text
    assert "7.5, 8.0, 9.0" in found.details


def test_a_gpu_that_a_cuda_has_left_behind() -> None:
    machine = Machine(driver="580.65.06", gpus=(("V100", "7.0"), ("T4", "7.5")))
    good, found = compare(Cuda(version="13.2", driver="580.65.06"), machine=machine)
    assert (good.level, found.level) == ("ok", "warning")
    assert "V100" in found.text
    assert "7.5 and newer" in found.details


def test_a_project_that_was_not_resolved_yet(tmp_path: Path) -> None:
    env = smi(tmp_path / "bin", "580.65.06, 9.0, NVIDIA H200")
    settings = dataclasses.replace(read(), env=env, store_root=tmp_path / "store")
    yaml = tmp_path / "cog.yaml"
    yaml.write_text('build:\n  gpu: true\n  python_version: "3.11"\nrun: "run.py:Runner"\n')
    (found,) = check(tmp_path, file="cog.yaml", settings=settings)
    assert (found.level, "580.65.06" in found.text, "cogsmith plan" in found.hint) == ("ok", True, True)
    yaml.write_text('build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n')
    assert check(tmp_path, file="cog.yaml", settings=settings) == []


def test_a_model_without_cuda_needs_no_driver() -> None:
    assert not list(compare(Cuda(), machine=Machine(driver="470.223.02")))
