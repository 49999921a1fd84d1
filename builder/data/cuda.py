"""The rows of `cuda.json`: PyTorch, TensorFlow, CUDA and its images, each with its source.  Reads that file alone."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

REPOSITORY = "nvidia/cuda"
GLIBC = {"16.04": "2.23", "18.04": "2.27", "20.04": "2.31", "22.04": "2.35", "24.04": "2.39"}
"""glibc of each Ubuntu release of the images."""


@functools.cache
def table() -> Mapping[str, Any]:
    """The rows by kind; `sources` says in words what the keys in `source` stand for."""
    data: dict[str, Any] = json.loads(Path(__file__).with_name("cuda.json").read_text("utf-8"))
    return data


def minor(version: str) -> str:
    """`12.8` of `12.8.90`."""
    return ".".join(version.split(".")[:2])


def major(version: str | None) -> str:
    """`12` of `12.8.90`."""
    return (version or "").split(".")[0]


def torch_row(version: str) -> Mapping[str, Any] | None:
    """The row of the table for a version of torch, whatever its local part."""
    plain = version.partition("+")[0]
    return next((row for row in table()["torch"] if row["version"] == plain), None)


def tensorflow_row(version: str) -> Mapping[str, Any] | None:
    """The row of a version of TensorFlow."""
    return next((row for row in table()["tensorflow"] if row["version"] == minor(version)), None)


def system_row(name: str, *, version: str) -> Mapping[str, Any]:
    """Which CUDA and cuDNN a package takes from the system, where the table knows; else empty."""
    if name.startswith("tensorflow"):
        row = tensorflow_row(version)
        return {**row, "exact": True} if row else {}
    if name == "onnxruntime-gpu":
        return _since(table()["onnxruntime"], version=version)
    if name == "paddlepaddle-gpu" and major(version) == "2":  # since 3.0 its wheels name NVIDIA's
        return _since(table()["paddlepaddle"], version=version)
    return {}


def _since(rows: Iterable[Mapping[str, Any]], *, version: str) -> Mapping[str, Any]:
    """The last of the rows that a version is not older than; empty: it is older than all."""
    fitting = [row for row in rows if Version(row["from"]) <= Version(version)]
    return max(fitting, key=lambda row: Version(row["from"]), default={})


def torch_of(torchvision: str) -> str:
    """The oldest torch that a version of torchvision is for; empty where the table does not know."""
    plain = torchvision.partition("+")[0]
    return next((row["version"] for row in table()["torch"] if plain in row["torchvision"]), "")


def architectures(torch: str, *, cuda: str, machine: str = "amd64") -> tuple[str, ...]:
    """The compute capabilities (`8.6`) that this torch has code for on a machine, where that is known."""
    try:
        own = Version(minor(torch.partition("+")[0]))
    except InvalidVersion:
        return ()
    for row in table()["torch_architectures"]:
        if row.get("machine", "amd64") != machine:
            continue
        if cuda in row["cuda"] and Version(row["from"]) <= own <= Version(row["to"]):
            return tuple(row["architectures"])
    return ()


def toolkit(cuda: str) -> Mapping[str, Any] | None:
    """The row of a CUDA version: its driver and its GPUs."""
    return next((row for row in table()["cuda"] if row["version"] == minor(cuda)), None)


def images(*, cuda: str = "", removed: bool = False) -> list[Mapping[str, Any]]:
    """The images that exist (or were removed), of one CUDA (`12.8` or `12.8.1`) or all, the newest first."""
    rows = [row for row in table()["images"] if bool(row.get("removed")) == removed]
    fitting = [row for row in rows if not cuda or row["cuda"] == cuda or minor(row["cuda"]) == cuda]
    return sorted(fitting, key=lambda row: (Version(row["cuda"]), Version(row["cudnn"])), reverse=True)


def tag(image: Mapping[str, Any], *, variant: str) -> str:
    """`nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04`, on the newest Ubuntu that there is; a `base` has no cuDNN."""
    ubuntu = max(image["ubuntu"], key=Version)
    cudnn = "" if variant == "base" else f"{image['word']}-"
    return f"{REPOSITORY}:{image['cuda']}-{cudnn}{variant}-ubuntu{ubuntu}"


def glibc_of(reference: str) -> str | None:
    """Which glibc an image has, by the Ubuntu in its tag; None for images of others."""
    match = re.fullmatch(rf"(?:docker\.io/)?{REPOSITORY}:[^@]*-ubuntu(\d\d\.\d\d)", reference)
    return GLIBC.get(match[1]) if match else None


def with_cudnn(rows: Iterable[Mapping[str, Any]], cudnn: str) -> list[Mapping[str, Any]]:
    """Those images that have this cuDNN; empty: any."""
    return [row for row in rows if not cudnn or row["cudnn"] == major(cudnn)]


def driver_for(versions: Iterable[str]) -> str:
    """The oldest driver that runs all of these; minor versions of one CUDA have the same."""
    found = set()
    for version in versions:
        known = {row["driver"] for row in table()["cuda"] if major(row["version"]) == major(version)}
        row = toolkit(version) if version else None
        found |= {row["driver"]} if row else known
    return max(found, key=Version, default="")
