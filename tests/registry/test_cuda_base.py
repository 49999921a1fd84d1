"""A model that stands on nvidia/cuda: the image from a registry on loopback, the Python that it lacks from a mirror."""

from __future__ import annotations

import json
import os
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_images import add_image, add_layer, tar_of
from small_registry import Server

from builder.store import Store
from tests import standin_python
from tests.conftest import Cogsmith, place

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("interpreter")]

RUN = 'from cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return "x"\n'
ENV = (
    ("PATH", "/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/bin:/bin"),
    ("LD_LIBRARY_PATH", "/usr/local/nvidia/lib:/usr/local/nvidia/lib64"),
    ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
)
YAML = """build:
  gpu: true
  python_version: "{minor}"
  python_requirements: requirements.txt
{build}run: "run.py:Runner"
"""


@pytest.fixture(scope="session")
def python(shared: Path) -> tuple[Path, str]:
    """An archive like python-build-standalone's, and its version; the one that the interpreter's own tests use."""
    program = standin_python.find()
    version, _ = standin_python.facts(program)
    folder = shared / "standin-python"
    if not folder.exists():
        draft = shared / f"standin-python.{os.getpid()}"
        draft.mkdir()
        standin_python.pack(program, draft / f"cpython-{version}-linux-install_only.tar.gz")
        place(draft, folder)
    return folder / f"cpython-{version}-linux-install_only.tar.gz", version


@contextmanager
def world(
    public: Server, source: Store, python: tuple[Path, str], tmp_path: Path, *tags: str
) -> Iterator[dict[str, str]]:
    """The environment in which the registry of `nvidia/cuda` is the one on loopback, with images of these tags."""
    layer = add_layer(source, tar_of({"etc/os-release": b"ID=ubuntu\n", "usr/local/cuda/version.json": b"{}"}))
    add_image(source, "cuda:1", [layer], env=ENV)
    for tag in tags:
        public.push(source, "cuda:1", f"nvidia/cuda:{tag}")
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nprefix = "docker.io/nvidia"\nlocation = "{public.host}/nvidia"\ninsecure = true\n')
    archive, version = python
    with standin_python.mirror(tmp_path, version=version, archive=archive) as settings:
        yield {**settings, "CONTAINERS_REGISTRIES_CONF": str(conf), "CONTAINERS_REGISTRIES_CONF_DIR": str(tmp_path)}


def write(folder: Path, *, version: str, build: str, wheels: dict[str, tuple[str, ...]]) -> Path:
    """A project with these wheels beside it: by name and version, what each says that it needs."""
    folder.mkdir()
    minor = version.rpartition(".")[0]
    names = []
    for pin, requires in wheels.items():
        name, _, own = pin.partition("==")
        module = name.replace("-", "_")
        names.append(f"{module}-{own}-py3-none-any.whl")
        with zipfile.ZipFile(folder / names[-1], "w") as archive:
            lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
            info = f"{module}-{own}.dist-info"
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {own}\n{lines}")
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
    (folder / "requirements.txt").write_text("".join(f"{name}\n" for name in names))
    (folder / "run.py").write_text(RUN)
    (folder / "cog.yaml").write_text(YAML.format(minor=minor, build=build))
    return folder


def test_wheels_without_cuda_get_the_runtime_image(
    cogsmith: Cogsmith, public: Server, source: Store, python: tuple[Path, str], tmp_path: Path
) -> None:
    tag = "12.5.1-cudnn-runtime-ubuntu22.04"
    extra = (
        "nvidia-cuda-runtime-cu12==12.5.82; extra == 'and-cuda'",
        "nvidia-cudnn-cu12==9.3.0.75; extra == 'and-cuda'",
    )
    folder = write(tmp_path / "p", version=python[1], build="", wheels={"tensorflow==2.18.0": extra})
    with world(public, source, python, tmp_path, tag) as env:
        cogsmith("lock", "--no-layers", cwd=folder, env=env)
        shown = cogsmith("plan", "--locked", cwd=folder, env=env)
        data = json.loads(cogsmith("plan", "--locked", "--json", cwd=folder, env=env).out)
    locked = tomllib.loads((folder / "pylock.cog.toml").read_text())["tool"]["cogsmith"]
    assert locked["base"]["reference"] == f"nvidia/cuda:{tag}"
    assert locked["base"]["glibc"] == "2.35"
    assert {name: locked["cuda"][name] for name in ("version", "cudnn", "base", "image", "driver")} == {
        "version": "12.5",
        "cudnn": "9",
        "base": "runtime",
        "image": f"nvidia/cuda:{tag}",
        "driver": "525.60.13",
    }
    assert [layer["kind"] for layer in data["layers"][:3]] == ["base", "interpreter", "wheels"]
    assert data["layers"][1]["version"] == python[1]
    with Store.open(cogsmith.cache / "cogsmith") as store:
        assert not store.has_blob(data["layers"][0]["digest"]), "nothing of the image is fetched to be planned"
    environment = dict(data["config"]["env"])
    assert environment["NVIDIA_VISIBLE_DEVICES"] == environment["NVIDIA_DRIVER_CAPABILITIES"] == "all"
    assert environment["PATH"].startswith("/opt/venv/bin:/usr/local/nvidia/bin:")
    label = json.loads(dict(data["config"]["labels"])["run.cog.config"])
    assert (label["build"]["gpu"], label["build"]["cuda"], label["build"]["cudnn"]) == (True, "12.5", "9")
    assert data["cuda"]["text"].startswith("CUDA 12.5 with cuDNN 9: tensorflow 2.18.0 needs CUDA 12.5 and cuDNN 9;")
    assert "CUDA 12.5 with cuDNN 9" in shown.out
    assert data["lints"] == []


def test_cuda_by_hand_and_why(
    cogsmith: Cogsmith, public: Server, source: Store, python: tuple[Path, str], tmp_path: Path
) -> None:
    needs = {
        "torch==2.9.0": ("nvidia-cuda-runtime-cu12==12.8.90; platform_system == 'Linux'", "sympy>1; extra == 'no'"),
        "nvidia-cuda-runtime-cu12==12.8.90": (),
        "diffusers==1.0": ("torch>=2", "nvidia-cuda-runtime-cu12"),
    }
    folder = write(tmp_path / "p", version=python[1], build='  cuda: "12.8"\n', wheels=needs)
    with world(public, source, python, tmp_path, "12.8.1-cudnn-devel-ubuntu24.04") as env:
        done = cogsmith("plan", "--json", cwd=folder, env=env)
        why = cogsmith("why", "nvidia_cuda_runtime-cu12", cwd=folder, env=env)
        found = json.loads(cogsmith("why", "--json", "torch", cwd=folder, env=env).out)
        server = cogsmith("why", "uvicorn", cwd=folder, env=env)
        absent = cogsmith("why", "tofch", cwd=folder, env=env, ok=False)
    data = json.loads(done.out)
    assert data["cuda"]["image"] == "nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04"
    assert [lint["name"] for lint in data["lints"]] == ["devel-base"]
    number = next(n for n, layer in enumerate(data["layers"], start=1) if layer["kind"] == "wheels")
    lines = why.out.splitlines()
    assert lines[0] == "nvidia-cuda-runtime-cu12 12.8.90"
    assert lines[1].startswith(f"  layer {number}: 3 Python packages")
    assert [line.strip() for line in lines[4:]] == [
        "nvidia-cuda-runtime-cu12 is asked for",
        "diffusers 1.0 → nvidia-cuda-runtime-cu12 12.8.90",
        "torch 2.9.0 → nvidia-cuda-runtime-cu12 12.8.90",
    ]
    (torch,) = found
    assert (torch["kind"], torch["version"], torch["layer"]["number"]) == ("python", "2.9.0", number)
    assert torch["chains"] == [["torch"], ["diffusers", "torch"]]
    assert "part of the prediction server" in server.out
    assert absent.code == 3
    assert "did you mean `torch`?" in absent.err
