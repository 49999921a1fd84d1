"""The NVIDIA driver and the GPUs of this machine, and whether they run what the project is locked to.

Asks `nvidia-smi` if there is one, else reads what the kernel and the driver's libraries say of themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.version import InvalidVersion, Version

from builder import process
from builder.cli import locking
from builder.cli.doctor.finding import Finding
from builder.cli.project import Project, find
from builder.cli.settings import Settings
from builder.cuda_matrix import oldest_gpu
from builder.engine import gpus
from builder.errors import CogsmithError
from builder.frozen import frozen
from builder.lock import Cuda
from builder.resolve.lints import runs
from builder.store import Store

SKIP = "COG_SKIP_GPU_CHECK"
"""Set: neither driver nor GPUs are looked at.  The name is Cog's."""

_QUERY = ("--query-gpu=driver_version,compute_cap,name", "--format=csv,noheader")
_VERSION = re.compile(r"(?<![\d.])(\d{3}(?:\.\d+){1,2})(?![\d.])")


@frozen
class Machine:
    """The version of the driver (`550.54.15`) and, where they are known, the GPUs: name and compute capability."""

    driver: str
    gpus: tuple[tuple[str, str], ...] = ()


def check(folder: Path, *, file: str, settings: Settings) -> list[Finding]:
    """All findings: none on a machine without a driver, or for a project without `build.gpu`."""
    if settings.env.get(SKIP):
        return []
    machine = look(Path("/"), env=settings.env)
    try:
        project = None if machine is None else find(folder, file=file)
    except CogsmithError:
        project = None  # whatever is wrong is a finding of its own
    if machine is None or project is None or not project.config.gpu:
        return []
    cuda = _wanted(project, settings=settings)
    if cuda is not None:
        return list(compare(cuda, machine=machine))
    text = f"the NVIDIA driver here is {machine.driver}; what the project needs is not known yet"
    return [Finding(level="ok", text=text, hint="`cogsmith plan` finds it out")]


def look(root: Path, *, env: Mapping[str, str]) -> Machine | None:
    """What drives the GPUs of the machine at `root`; `nvidia-smi` is looked for on the `PATH` of `env` and below it."""
    for program in [*(Path(part) / "nvidia-smi" for part in env.get("PATH", "").split(os.pathsep) if part),
                    *(root / place for place in gpus.PROGRAMS)]:  # fmt: skip
        if os.access(program, os.X_OK) and (found := _asked(program, env=env)):
            return found
    try:
        text = (root / "proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = _VERSION.search(text)
    if match:
        return Machine(driver=match[1])
    for place in gpus.FOLDERS:
        for pattern in ("libcuda.so.*", "libnvidia-ml.so.*"):
            for path in sorted((root / place).glob(pattern)):
                if match := _VERSION.search(path.name.partition(".so.")[2]):
                    return Machine(driver=match[1])
    return None


def compare(cuda: Cuda, *, machine: Machine) -> Iterator[Finding]:
    """Whether this machine runs what the decision needs."""
    if not cuda.version or not cuda.driver:
        return
    if _is_older(machine.driver, cuda.driver):
        yield Finding(
            level="warning",
            text=f"the NVIDIA driver {machine.driver} here is too old for CUDA {cuda.version} of the project",
            details=f"it needs {cuda.driver} or newer",
            hint="install a newer driver, or packages for an older CUDA (docs/cuda.md)",
        )
    else:
        text = f"the NVIDIA driver {machine.driver} runs CUDA {cuda.version} ({cuda.driver} or newer)"
        yield Finding(level="ok", text=text)
    for name, capability in machine.gpus:
        if cuda.gpus and not runs(capability, cuda.gpus):
            yield Finding(
                level="warning",
                text=f"PyTorch of the project has no code for the {name} of this machine",
                details=f"its compute capability is {capability}; there is code for {', '.join(cuda.gpus)}",
                hint="take a PyTorch for another CUDA, or another GPU",
            )
        elif not cuda.gpus and (oldest := oldest_gpu(cuda.version)) and _is_older(capability, oldest):
            yield Finding(
                level="warning",
                text=f"CUDA {cuda.version} of the project has no code for the {name} of this machine",
                details=f"its compute capability is {capability}; CUDA {cuda.version} runs on {oldest} and newer",
                hint="take packages for an older CUDA, or a newer GPU",
            )


def _asked(program: Path, *, env: Mapping[str, str]) -> Machine | None:
    try:
        code, output, _ = process.attempt([program, *_QUERY], env=env)
    except OSError:
        return None
    rows = [[cell.strip() for cell in line.split(",", 2)] for line in output.decode(errors="replace").splitlines()]
    rows = [row for row in rows if len(row) == 3 and _VERSION.fullmatch(row[0])]
    if code or not rows:
        return None
    known = [(name, capability) for _, capability, name in rows if re.fullmatch(r"\d+\.\d+", capability)]
    return Machine(driver=rows[0][0], gpus=tuple(known))


def _is_older(version: str, bound: str) -> bool:
    try:
        return Version(version) < Version(bound)
    except InvalidVersion:
        return False


def _wanted(project: Project, *, settings: Settings) -> Cuda | None:
    """The decision of the project's lock file, or of what was resolved before; none where there is neither."""
    try:
        store = Store.open(settings.store_root)
        platform = locking.preferred_platform(project, settings=settings)
        text = locking.known_text(project, settings=settings, store=store, platform=platform, locked=False)
        return locking.parse(text, project=project, store=store).cuda if text else None
    except CogsmithError:
        return None  # whatever is wrong is a finding of its own
