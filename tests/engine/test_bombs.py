"""Layers that inflate to more than this machine has, or make who reads them count, climb or remember without end."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.engine import tree
from builder.engine.unpack import unpack
from builder.errors import LayerError
from builder.layers.changes import read_layer
from builder.layers.lower import Folders
from builder.layers.tree import read_tar
from builder.layout.importing import import_image
from builder.oci import LAYER_MEDIA_TYPES
from builder.report import Quiet
from builder.store import Store

from .images import member, put_layer, tar

ROOT = Path(tree.__file__).parents[2]
QUIET = Quiet()
DIGEST = "sha256:" + "0" * 64


def header(name: str, kind: bytes, size: int, **fields: object) -> bytes:
    """One block of 512 bytes; a size that octal digits cannot say is in base 256."""
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = len(rest) + 1
        while length != len(rest) + len(str(length)):
            length = len(rest) + len(str(length))
        data += str(length).encode() + rest
    return header("x", tarfile.XHDTYPE, len(data)) + data + bytes(-len(data) % 512)


def zeros(head: bytes, size: int) -> Iterator[bytes]:
    """A gzip file of `head` and so many zeros: a two hundredth of it."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    yield packer.compress(head)
    block = bytes(1 << 20)
    for _ in range(size >> 20):
        yield packer.compress(block)
    yield packer.flush()


HUGE = 1 << 40
CHAIN = header("x", tarfile.XHDTYPE, 0) * 3000
WRONG = {
    "a long name of a terabyte": header("x", tarfile.GNUTYPE_LONGNAME, HUGE),
    "a long link of a terabyte": header("x", tarfile.GNUTYPE_LONGLINK, HUGE),
    "records of a terabyte": header("x", tarfile.XHDTYPE, HUGE),
    "global records of a terabyte": header("x", tarfile.XGLTYPE, HUGE),
    "headers without end": CHAIN,
    "a negative size": header("x", tarfile.REGTYPE, -1024) + bytes(1024),
    "a negative size in a record": pax(size="-1024") + header("x", tarfile.REGTYPE, 0) + bytes(1024),
    "records of a negative size": header("x", tarfile.XHDTYPE, -512),
}
UNPACKED = {
    **WRONG,
    "a path of a megabyte": pax(path="a/" * 500_000) + header("x", tarfile.DIRTYPE, 0),
    "a path that is a little too long": pax(path="a/" * 2047 + "aa") + header("x", tarfile.DIRTYPE, 0),
    "an owner of a hundred digits": pax(uid="9" * 100) + header("x", tarfile.REGTYPE, 0),
    "a time of a hundred digits": pax(mtime="9" * 100) + header("x", tarfile.REGTYPE, 0),
    "no time at all": pax(mtime="inf") + header("x", tarfile.REGTYPE, 0),
}


@pytest.mark.parametrize("name", UNPACKED)
def test_what_cannot_be_is_refused(store: Store, name: str) -> None:
    layer = put_layer(store, UNPACKED[name] + bytes(1024))
    if name == "an owner of a hundred digits" and os.geteuid() != 0:
        pytest.skip("an ordinary user keeps no owners")
    with pytest.raises(LayerError, match="is hostile"):
        unpack(layer, store=store, report=QUIET)
    assert list((store.root / "unpacked").iterdir()) == []


@pytest.mark.parametrize("name", WRONG)
def test_archives_of_other_builders_too(name: str, tmp_path: Path) -> None:
    with pytest.raises(LayerError):
        read_layer(io.BufferedRandom(io.BytesIO(WRONG[name] + bytes(1024))), lower=Folders([tmp_path]))  # type: ignore[arg-type]
    with pytest.raises(LayerError):
        read_tar(io.BufferedRandom(io.BytesIO(WRONG[name] + bytes(1024))), epoch=0)  # type: ignore[arg-type]


def test_a_deep_tree_is_made_and_removed(store: Store) -> None:
    """As deep as a path can be, and replaced by a file: neither may call itself for each folder."""
    deep = "d/" * 2040
    members = pax(path=deep + "f") + header("x", tarfile.REGTYPE, 0) + header("d", tarfile.REGTYPE, 0)
    path = unpack(put_layer(store, members + bytes(1024)), store=store, report=QUIET)
    assert (path / "d").is_file()


UNPACK = """
import json, sys
from pathlib import Path
from builder.engine.unpack import unpack
from builder.errors import CogsmithError
from builder.oci import PackedLayer
from builder.report import Quiet
from builder.store import Store
def peak():  # not `ru_maxrss`, which remembers the process before exec
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
fields = json.loads(sys.argv[2])
with Store.open(Path(sys.argv[1])) as store:
    before = peak()
    try:
        unpack(PackedLayer(**fields), store=store, report=Quiet())
        said = ""
    except CogsmithError as problem:
        said = str(problem)
    after = peak()
print(json.dumps([said, after - before]))
"""


@pytest.mark.parametrize(
    ("head", "said"),
    [
        pytest.param(header("x", tarfile.XHDTYPE, 256 << 20), "bytes of headers", id="records"),
        pytest.param(header("x", tarfile.REGTYPE, 256 << 20), "does not hold what it should", id="content"),
        pytest.param(b"", "does not hold what it should", id="after the end"),
    ],
)
def test_what_inflates_takes_little_memory(store: Store, head: bytes, said: str) -> None:
    blob = b"".join(zeros(head, 256 << 20))
    digest = store.put(blob)
    layer = {"digest": digest, "diff_id": DIGEST, "size": len(blob), "media_type": LAYER_MEDIA_TYPES["gzip"]}
    done = subprocess.run(
        [sys.executable, "-c", UNPACK, store.root, json.dumps(layer)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer, grown = json.loads(done.stdout)
    assert said in answer or "damaged" in answer
    assert grown < 60_000  # kB


FILL = """
import json, os, sys
from pathlib import Path
from builder.engine.unpack import unpack
from builder.errors import StoreError
from builder.oci import PackedLayer
from builder.report import Quiet
from builder.store import Store
blob = Path(sys.argv[2]).read_bytes()
with Store.open(Path(sys.argv[1])) as store:
    layer = PackedLayer(digest=store.put(blob), size=len(blob), **json.loads(sys.argv[3]))
    try:
        unpack(layer, store=store, report=Quiet())
        said = None
    except StoreError as problem:
        said = [problem.brief, str(problem), problem.hint]
    print(json.dumps([said, os.listdir(store.root / "unpacked")]))
"""


def test_it_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    """On a real file system of 200 MiB that nobody else has, and of which 128 are never taken."""
    disk, blob = tmp_path / "disk", tmp_path / "blob"
    disk.mkdir()
    blob.write_bytes(b"".join(zeros(header("x", tarfile.REGTYPE, 100 << 20), 100 << 20)))
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size={200 << 20} tmpfs {disk}"
    if shutil.which("unshare") is None or subprocess.run([*alone, "sh", "-c", mount], check=False).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    fields = {"diff_id": DIGEST, "media_type": LAYER_MEDIA_TYPES["gzip"]}
    fill = [sys.executable, "-c", FILL, str(disk / "store"), str(blob), json.dumps(fields)]
    done = subprocess.run(
        [*alone, "sh", "-c", f'{mount} && exec "$@"', "sh", *fill],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (brief, whole, hint), left = json.loads(done.stdout)
    assert "could not unpack the layer" in brief and "less than 128 mib" in whole.lower()
    assert (hint, left) == ("free some space: `cogsmith cache prune`", [])


def test_many_names_at_one_place(store: Store) -> None:
    members = (
        [member("same", b"x") for _ in range(2000)]
        + [member("d"), member("d", b"")] * 300
        + [member("d"), member("d/e", b"")]
    )
    path = unpack(put_layer(store, tar(members), compress=gzip.compress), store=store, report=QUIET)
    assert sorted(os.listdir(path)) == ["d", "same"]


def test_image_archives_too(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(WRONG["records of a terabyte"])
    with pytest.raises(LayerError, match="bytes of headers"):
        import_image(store, path=path, report=QUIET)
