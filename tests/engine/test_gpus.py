"""`--gpus`: what is asked for, and which mounts that makes of a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.engine import container
from builder.engine.container import Options
from builder.engine.gpus import Wanted, mounts, parse
from builder.engine.platform import check
from builder.errors import SandboxError
from builder.sandbox import Mount
from builder.store import Store

from .images import HOST, Recipe


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("all", Wanted()),
        ("2", Wanted(count=2)),
        ("0", Wanted(count=0)),
        ("device=0", Wanted(numbers=(0,))),
        ("device=0,2", Wanted(numbers=(0, 2))),
        ('"device=0,2"', Wanted(numbers=(0, 2))),
    ],
)
def test_forms(text: str, wanted: Wanted) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize("text", ["", "some", "-1", "device=", "device=GPU-1", "device=0,", "1.5", "٢"])
def test_refused(text: str) -> None:
    with pytest.raises(SandboxError, match="invalid GPU specification"):
        parse(text)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with two GPUs, as far as files show it."""
    for name in (
        "dev/nvidia0",
        "dev/nvidia1",
        "dev/nvidiactl",
        "dev/nvidia-uvm",
        "dev/nvidia-caps/nvidia-cap1",
        "usr/bin/nvidia-smi",
        "usr/lib/x86_64-linux-gnu/libcuda.so.550.1",
        "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "usr/lib/x86_64-linux-gnu/libcudart.so.12",
        "usr/lib64/libnvidia-ml.so.1",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "usr/lib/x86_64-linux-gnu/libcuda.so.1").symlink_to("libcuda.so.550.1")
    return tmp_path


def test_mounts(host: Path) -> None:
    made = {mount.target: mount for mount in mounts(Wanted(), root=host)}
    devices = {"nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia-caps/nvidia-cap1"}
    assert {target for target, mount in made.items() if mount.device} == {f"/dev/{name}" for name in devices}
    files = {target for target, mount in made.items() if not mount.device}
    libraries = {"libcuda.so.1", "libcuda.so.550.1", "libnvidia-ml.so.1"}  # the driver's, and nothing of CUDA
    assert files == {f"/usr/local/nvidia/lib64/{name}" for name in libraries} | {"/usr/local/nvidia/bin/nvidia-smi"}
    assert all(made[target].readonly for target in files)
    assert made["/usr/local/nvidia/lib64/libcuda.so.1"].source == host / "usr/lib/x86_64-linux-gnu/libcuda.so.550.1"


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", {"0"}), ("device=1", {"1"}), ("device=1,0", {"0", "1"}), ("0", set())]
)
def test_some_of_them(host: Path, text: str, numbers: set[str]) -> None:
    made = mounts(parse(text), root=host)
    assert {mount.target[-1] for mount in made if mount.target[:-1] == "/dev/nvidia"} == numbers


@pytest.mark.parametrize("text", ["3", "device=2"])
def test_more_than_there_are(host: Path, text: str) -> None:
    with pytest.raises(SandboxError, match="it has 0, 1"):
        mounts(parse(text), root=host)


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no NVIDIA device"):
        mounts(Wanted(), root=tmp_path)


@pytest.mark.usefixtures("containers")
@pytest.mark.parametrize("device", [True, False])
def test_a_device_works_where_it_is_said_to_be_one(store: Store, device: bool) -> None:
    mount = Mount(target="/dev/nvidia0", source=Path("/dev/null"), device=device)
    command = ("/usr/bin/sh", "-c", "echo x > /dev/nvidia0")
    options = Options(command=command, mounts=(*HOST, mount), env={"PATH": "/usr/bin"})
    assert (container.run(Recipe().image(store), store=store, options=options) == 0) == device


class TestPlatform:
    def test_own(self) -> None:
        for machine, name in (("x86_64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64")):
            check({"os": "linux", "architecture": name}, machine=machine)
        check({}, machine="x86_64")

    def test_another(self, tmp_path: Path) -> None:
        config = {"os": "linux", "architecture": "arm64"}
        with pytest.raises(SandboxError) as problem:
            check(config, machine="x86_64", binfmt=tmp_path)
        assert problem.value.brief == "the image is for linux/arm64, and this machine is linux/amd64"
        assert "--platform linux/amd64" in (problem.value.hint or "")
        with pytest.raises(SandboxError, match="windows/amd64"):
            check({"os": "windows", "architecture": "amd64"}, machine="x86_64")

    def test_an_emulator(self, tmp_path: Path) -> None:
        (tmp_path / "qemu-aarch64").touch()
        check({"os": "linux", "architecture": "arm64"}, machine="x86_64", binfmt=tmp_path)

    def test_before_anything_is_unpacked(self, store: Store) -> None:
        image = Recipe().image(store)
        image.config["architecture"] = "s390x"  # type: ignore[index]
        with pytest.raises(SandboxError, match="linux/s390x"):
            container.start(image, store=store)
        assert not list((store.root / "unpacked").rglob("*"))
