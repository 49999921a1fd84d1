"""The host's NVIDIA devices and driver libraries as mounts of a container.  Looks at files; starts nothing.

The driver's user-space libraries belong to the host's kernel module and are never part of an image.  They are mounted
file by file into `/usr/local/nvidia`, which is where the `LD_LIBRARY_PATH` of every Cog image looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from builder.errors import SandboxError
from builder.frozen import frozen
from builder.sandbox import Mount

CONTROL = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
LIBRARIES = ("libcuda", "libcudadebugger", "libnvcuvid", "libnvoptix", "libnvidia-*")
FOLDERS = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/lib/wsl/lib",
    "usr/local/nvidia/lib64",
    "run/opengl-driver/lib",
)
PROGRAMS = ("usr/bin/nvidia-smi", "usr/lib/wsl/lib/nvidia-smi", "run/current-system/sw/bin/nvidia-smi")
INSIDE = "/usr/local/nvidia"


@frozen
class Wanted:
    """Which GPUs: those of `numbers`, or the first `count`, or all of them."""

    count: int | None = None
    numbers: tuple[int, ...] = ()


def parse(text: str) -> Wanted:
    """`all`, a number of GPUs, or `device=0,1` (also in the quotes that docker wants around it)."""
    plain = text.strip().strip('"').strip("'")
    if plain == "all":
        return Wanted()
    if plain.isascii() and plain.isdigit():
        return Wanted(count=int(plain))
    if re.fullmatch(r"device=\d+(,\d+)*", plain, re.ASCII):
        return Wanted(numbers=tuple(int(number) for number in plain.removeprefix("device=").split(",")))
    raise SandboxError(
        f'invalid GPU specification: "{text}"', hint="as in `--gpus all`, `--gpus 1`, `--gpus device=0,1`"
    )


def mounts(wanted: Wanted, *, root: Path = Path("/")) -> tuple[Mount, ...]:
    """What a container needs to use these GPUs; `root` is the host's.

    `SandboxError` if this machine has no NVIDIA driver, or not these GPUs.
    """
    if wanted.count == 0:
        return ()
    there = sorted(int(path.name[6:]) for path in (root / "dev").glob("nvidia[0-9]*") if path.name[6:].isdigit())
    if not there and not (root / "dev" / "dxg").exists():
        raise SandboxError(
            "this machine has no NVIDIA device",
            hint="install the driver (`nvidia-smi` must work), or leave out `--gpus`",
        )
    chosen = list(wanted.numbers) or there[: wanted.count]
    absent = [number for number in chosen if number not in there]
    if absent or (wanted.count is not None and wanted.count > len(there)):
        raise SandboxError(
            f"this machine does not have the GPUs that were asked for: it has {', '.join(map(str, there)) or 'none'}",
            hint="`--gpus all` takes what there is",
        )
    return (*_devices(chosen, root=root), *_libraries(root), *_programs(root))


def _devices(numbers: list[int], *, root: Path) -> Iterator[Mount]:
    names = [*CONTROL, *(f"nvidia{number}" for number in numbers), "dxg"]
    caps = [f"nvidia-caps/{path.name}" for path in sorted((root / "dev" / "nvidia-caps").glob("nvidia-cap*"))]
    for name in [*names, *caps]:
        path = root / "dev" / name
        if path.exists():
            yield Mount(target=f"/dev/{name}", source=path, device=True)


def _libraries(root: Path) -> Iterator[Mount]:
    seen: set[str] = set()
    for folder in FOLDERS:
        for pattern in LIBRARIES:
            for path in sorted((root / folder).glob(f"{pattern}.so*")):
                if path.name not in seen and path.is_file():
                    seen.add(path.name)
                    yield Mount(target=f"{INSIDE}/lib64/{path.name}", source=path.resolve(), readonly=True)


def _programs(root: Path) -> Iterator[Mount]:
    for name in PROGRAMS:
        path = root / name
        if path.is_file():
            yield Mount(target=f"{INSIDE}/bin/nvidia-smi", source=path.resolve(), readonly=True)
            return
