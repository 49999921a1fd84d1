"""The example for a GPU, planned: what its wheels bring decides, and nothing of gigabytes is fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cogsmith

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]


def test_mandelbrot_is_planned(cogsmith: Cogsmith, project: Callable[[str], Path]) -> None:
    plan = json.loads(cogsmith("plan", "--json", cwd=project("mandelbrot")).out)
    cuda = plan["cuda"]
    assert (cuda["version"], cuda["base"], cuda["image"], cuda["driver"]) == ("13.0", "none", "", "580.65.06")
    assert cuda["text"].startswith("CUDA 13.0 with cuDNN 9: torch requires cuda-toolkit, here 13.0.")
    assert "7.5, 8.0, 8.6, 9.0, 10.0, 12.0" in cuda["text"]
    assert plan["layers"][0]["kind"] == "debian"
    alone = {layer["wheels"][0]["name"] for layer in plan["layers"] if len(layer.get("wheels", ())) == 1}
    assert {"torch", "triton", "nvidia-cublas", "nvidia-cudnn-cu13"} <= alone
    environment = dict(plan["config"]["env"])
    assert environment["NVIDIA_VISIBLE_DEVICES"] == environment["NVIDIA_DRIVER_CAPABILITIES"] == "all"
    assert plan["lints"] == []
    assert not list(cogsmith.cache.glob("cogsmith/**/torch-2.12.0*"))
