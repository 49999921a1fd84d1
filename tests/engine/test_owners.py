"""Layers unpacked with the owners that they give to files, by users who have subordinate ids for that."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
from pathlib import Path

import pytest

from builder import sandbox
from builder.engine.unpack import unpack, unpack_all
from builder.errors import LayerError
from builder.report import Quiet
from builder.sandbox import Overlay, Spec
from builder.store import Store

from .images import HOST, hardlink, member, put_layer, symlink, system_layer, tar

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0).decode("utf-8", "surrogateescape")


@pytest.fixture
def full(tmp_path: Path) -> None:
    """Skips where this user has no ids to give."""
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"no subordinate ids on this machine: {problems[0]}")


def layer() -> bytes:
    closed = member("closed", mode=0o700, uid=33, gid=44)
    secret = member("closed/secret", b"s", mode=0o400, uid=33, gid=42)
    able = member("able", b"a", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": CAPABILITY})
    return tar(
        [closed, secret, hardlink("again", "closed/secret"), able, symlink("l", "able"), member(".wh.gone", b"")]
    )


def test_owners_are_those_of_the_layer_inside(store: Store, full: None, tmp_path: Path) -> None:
    layers = [put_layer(store, system_layer()), put_layer(store, layer())]
    folders = unpack_all(layers, store=store, report=Quiet(), full=True)
    assert folders[1].name.endswith(f"-owners{sandbox.ids_name()}")
    assert folders == unpack_all(layers, store=store, report=Quiet(), full=True)
    spec = Spec(
        root=Overlay(lower=tuple(folders)), mounts=HOST, scratch=tmp_path / "scratch", ids="full",
        env=(("PATH", "/usr/bin:/bin"),),
        argv=("sh", "-euc", "stat -c '%n %u:%g %a' closed closed/secret again able; stat -c %h again"),
    )  # fmt: skip
    with (tmp_path / "out").open("wb") as out:
        assert sandbox.run(spec, stdout=out) == 0
    assert (tmp_path / "out").read_text().splitlines() == [
        "closed 33:44 700",
        "closed/secret 33:42 400",
        "again 33:42 400",
        "able 0:0 755",
        "2",
    ]
    assert stat.S_ISCHR((folders[1] / "gone").lstat().st_mode)
    if os.geteuid():  # the kernel notes whose root may use it
        assert len(os.getxattr(folders[1] / "able", "security.capability")) == 24
    # The other form is another tree.
    assert unpack(layers[0], store=store, report=Quiet()) != folders[0] or os.geteuid() == 0


def test_hostile_layers_are_refused_there_as_well(store: Store, full: None) -> None:
    for members in ([member("../x", b"x")], [symlink("d", "/tmp"), member("d/x", b"x")], [hardlink("a", "../b")]):
        with pytest.raises(LayerError, match="is hostile"):
            unpack(put_layer(store, tar(members)), store=store, report=Quiet(), full=True)
    devices = tar([member("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0), member("f", b"f")])
    folder = unpack(put_layer(store, devices), store=store, report=Quiet(), full=True)
    assert sorted(path.name for path in folder.iterdir()) == ["f"]
    assert not list((store.root / "unpacked").glob("*.partial"))
