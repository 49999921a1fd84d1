"""A lock of somebody else's: what it names does not run on this machine, and nothing of it is other projects'."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from small_images import add_layer

from builder import sandbox
from builder.backends import embedded
from builder.errors import CogsmithError
from builder.oci import PackedLayer
from builder.plan import (
    CODECS,
    BytecodeLayer,
    Compiler,
    ImageConfig,
    Layer,
    Locked,
    Plan,
    PythonArchive,
    Remote,
    Wheel,
    WheelsLayer,
    layer_key,
)
from builder.report import Quiet
from builder.store import Store


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path) -> tuple[WheelsLayer, dict[str, Path]]:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.py", "a = 1\n")
        archive.writestr("x-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1\n")
        archive.writestr("x-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("x-1.dist-info/RECORD", "")
    wheel = Wheel(name="x", version="1", filename=path.name, size=path.stat().st_size, sha256=hash_of(path))
    layer = WheelsLayer(prefix="/opt/venv", python="3.11", wheels=(wheel,), epoch=0, reason="")
    return layer, {wheel.sha256: path}


def interpreter(folder: Path, script: str) -> tuple[Compiler, Path]:
    """An archive of an interpreter that does something else."""
    path = folder / "cpython.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("python/bin/python3.11")
        info.mode, info.size = 0o755, len(script)
        archive.addfile(info, io.BytesIO(script.encode()))
    found = PythonArchive(filename=path.name, size=path.stat().st_size, sha256=hash_of(path))
    return Compiler(architecture="amd64", archive=found), path


def plan_of(*layers: Layer, locked: tuple[Locked, ...] = (), remotes: tuple[Remote, ...] = ()) -> Plan:
    config = ImageConfig(env=(), entrypoint=(), cmd=(), working_dir="/", exposed_ports=(), labels=())
    return Plan(
        platform="linux/amd64", epoch=0, layers=layers, config=config, compression="gzip", codec=CODECS["gzip"],
        locked=locked, remotes=remotes,
    )  # fmt: skip


def make(plan: Plan, *, store: Store, local: Mapping[str, Path]) -> list[PackedLayer]:
    def fetch(remotes: Iterable[Remote]) -> dict[str, Path]:
        raise LookupError(*(remote.name for remote in remotes))

    return list(embedded.make(plan, store=store, local=local, fetch=fetch, threads=2, report=Quiet()))


def test_its_interpreter_is_confined(wheels: tuple[WheelsLayer, dict[str, Path]], store: Store, tmp_path: Path) -> None:
    if sandbox.check(scratch=tmp_path / "probe", network="none"):
        pytest.skip("this machine has no sandbox, in which an interpreter would be confined")
    of, local = wheels
    compiler, archive = interpreter(tmp_path, f"#!/bin/sh\necho > {tmp_path}/was-here\ncat\n")
    layer = BytecodeLayer(version="3.11.9", of=of, compilers=(compiler,), epoch=0, reason="")
    with pytest.raises(CogsmithError):
        make(plan_of(layer), store=store, local={**local, hash_of(archive): archive})
    assert not (tmp_path / "was-here").exists()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("evil"))
    return stream.getvalue()


def test_a_layer_that_it_names_is_its_own_alone(wheels: tuple[WheelsLayer, dict[str, Path]], store: Store) -> None:
    of, local = wheels
    plan = plan_of(of)
    evil = add_layer(store, tar())
    key = layer_key(of, compression="gzip", codec=plan.codec)
    locked = Locked(key=key, digest=evil.digest, diff_id=evil.diff_id, size=evil.size)
    (theirs,) = make(dataclasses.replace(plan, locked=(locked,)), store=store, local=local)
    assert theirs.digest == evil.digest
    (ours,) = make(plan, store=store, local=local)
    assert ours.digest != evil.digest


def test_bytecode_of_its_interpreter_is_its_own_alone(
    wheels: tuple[WheelsLayer, dict[str, Path]], store: Store, tmp_path: Path
) -> None:
    of, local = wheels
    compiler, archive = interpreter(tmp_path, "#!/bin/sh\n")
    found = hash_of(archive)
    layer = BytecodeLayer(version="3.11.9", of=of, compilers=(compiler,), epoch=0, reason="")
    remote = Remote(sha256=found, size=archive.stat().st_size, name="our-python", urls=("https://example.com/x",))
    plan = plan_of(layer, remotes=(remote,))
    store.record_layer(layer_key(layer, compression="gzip", codec=plan.codec), add_layer(store, tar()))
    with pytest.raises(LookupError, match="our-python"):  # it is compiled, by what this plan names
        make(plan, store=store, local=local)
