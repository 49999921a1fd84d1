"""What is remembered of a lock is the lock."""

from __future__ import annotations

import dataclasses

import pytest

from builder.lock import Built, Cuda, DebianBase, ImageBase, Lock, quick
from builder.oci import PackedLayer
from builder.plan import BaseLayer, Compiler, Deb, Interpreter, PythonArchive, Remote, Wheel

WHEEL = Wheel(name="six", version="1", filename="six.whl", size=1, sha256="1" * 64)
LAYER = BaseLayer(digest="sha256:a", diff_id="sha256:b", size=3, media_type="tar", reason="why")
DEB = Deb(package="p", version="1", architecture="amd64", filename="p.deb", size=2, sha256="2" * 64)
LOCK = Lock(
    config_hash="0" * 64,
    platform="linux/amd64",
    interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
    base=DebianBase(suite="bookworm", architecture="amd64", debs=(DEB,), executed=True, reason="é"),
    wheels=(WHEEL,),
    runtime_version="0.1.0",
    runtime_build="b" * 64,
    runtime_wheels=(WHEEL, WHEEL),
    python=PythonArchive(filename="cpython.tar.gz", size=6, sha256="3" * 64),
    system_packages=(DEB,),
    compilers=(
        Compiler(architecture="amd64", debs=(DEB,)),
        Compiler(architecture="arm64", archive=PythonArchive(filename="c.tar.gz", size=7, sha256="4" * 64)),
    ),
    cuda=Cuda(
        version="12.8",
        cudnn="9",
        source="table",
        base="devel",
        image="nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04",
        driver="525.60.13",
        gpus=("8.0", "8.6"),
        libraries=("nvidia/cublas/lib",),
        reasons=("one", "another"),
    ),
    built=(Built(sha256="1" * 64, key="k", source="git", url="u", commit="c", requires=(WHEEL,), same=False),),
    layers=(("key", PackedLayer(digest="sha256:c", diff_id="sha256:d", size=4, media_type="tar")),),
    remotes=(Remote(sha256="1" * 64, size=1, name="six.whl", urls=("https://one", "https://two")),),
)
IMAGE = ImageBase(
    reference="r",
    digest="sha256:e",
    media_type="m",
    size=5,
    layers=(LAYER,),
    env=(("A", "1"),),
    labels=(("l", "2"),),
    entrypoint=("sh",),
    cmd=("-c", "x"),
    working_dir="/",
    user="me",
    glibc="2.36",
)


@pytest.mark.parametrize("lock", [LOCK, dataclasses.replace(LOCK, base=IMAGE)], ids=["debian", "image"])
def test_round_trip(lock: Lock) -> None:
    assert quick.loads(quick.dumps(lock)) == lock


def test_every_field_is_covered() -> None:
    """A field with its default everywhere would hide that it is lost."""
    for value in (LOCK, IMAGE, LOCK.cuda):
        assert value is not None
        for field in dataclasses.fields(value):
            assert getattr(value, field.name) != field.default, field.name
