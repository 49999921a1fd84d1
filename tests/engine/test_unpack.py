"""Layer blobs become directories; hostile ones become errors."""

from __future__ import annotations

import dataclasses
import gzip
import multiprocessing
import os
import signal
import stat
import tarfile
import zlib
from pathlib import Path

import pytest

from builder import sandbox
from builder.engine.inflate import Inflated
from builder.engine.unpack import unpack, unpack_all
from builder.errors import LayerError, StoreError
from builder.inflate import inflate
from builder.oci import PackedLayer
from builder.report import Quiet
from builder.store import Store

from .images import hardlink, many_members, member, put_layer, symlink, tar

QUIET = Quiet()


def tree(root: Path) -> dict[str, str]:
    """Every path below `root` with its kind, mode and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        text = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
        found[str(path.relative_to(root))] = f"{stat.filemode(info.st_mode)} {text}".strip()
    return found


def zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    half = len(data) // 2
    frames: bytes = zstandard.compress(data[:half]) + zstandard.compress(data[half:])  # two frames
    return frames


@pytest.mark.parametrize(
    "compress", [gzip.compress, bytes, many_members, zstd], ids=["gzip", "plain", "members", "zstd"]
)
def test_every_compression(store: Store, compress: object) -> None:
    big = os.urandom(700_000)
    data = tar([member("a"), member("a/b", b"one"), member("a/big", big, mode=0o755), symlink("l", "a/b")])
    path = unpack(put_layer(store, data, compress=compress), store=store, report=QUIET)  # type: ignore[arg-type]
    assert (path / "a" / "big").read_bytes() == big
    (path / "a" / "big").unlink()
    assert tree(path) == {"a": "drwxr-xr-x", "a/b": "-rw-r--r-- one", "l": "lrwxrwxrwx a/b"}


def test_the_gzip_reader_agrees_with_zlib(tmp_path: Path) -> None:
    data = os.urandom(100_000) + bytes(3_000_000) + os.urandom(10)
    blob = tmp_path / "blob"
    blob.write_bytes(gzip.compress(data[:50_000]) + gzip.compress(b"") + gzip.compress(data[50_000:]))
    with blob.open("rb") as file:
        assert b"".join(inflate(file)) == data


def test_modes_times_and_special_files(store: Store) -> None:
    members = [
        member("closed", mode=0o500, mtime=1000),
        member("closed/in", b"x", mode=0o400, mtime=1234.5),
        member("suid", b"x", mode=0o4755),
        member("sticky", mode=0o1777),
        member("sgid", mode=0o2755),
        hardlink("closed/same", "closed/in"),
        member("fifo", type=tarfile.FIFOTYPE, mode=0o600),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("hidden", type=tarfile.CHRTYPE, devmajor=0, devminor=0),
        member("implied/parent/file", b""),
        member("umläut \udcff", b""),
    ]
    path = unpack(put_layer(store, tar(members)), store=store, report=QUIET)
    assert stat.S_IMODE((path / "closed").stat().st_mode) == 0o500
    assert (path / "closed").stat().st_mtime == 1000
    assert (path / "closed" / "in").stat().st_mtime == 1234.5
    assert (path / "closed" / "same").stat().st_ino == (path / "closed" / "in").stat().st_ino
    assert stat.S_IMODE((path / "suid").stat().st_mode) == 0o4755
    assert stat.S_IMODE((path / "sticky").stat().st_mode) == 0o1777
    assert stat.S_IMODE((path / "sgid").stat().st_mode) == 0o2755
    assert stat.S_ISFIFO((path / "fifo").stat().st_mode)
    assert stat.S_IMODE((path / "implied").stat().st_mode) == 0o755
    assert (path / os.fsdecode("umläut ".encode() + b"\xff")).exists()
    assert not (path / "null").exists()
    assert not (path / "hidden").exists()  # 0/0 would be a whiteout of the overlay's own form
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_owners_are_kept_by_root_alone(store: Store) -> None:
    layer = put_layer(store, tar([member("d", uid=42, gid=43), member("d/f", b"x", uid=1000, gid=5, mode=0o4755)]))
    path = unpack(layer, store=store, report=QUIET)
    info = (path / "d" / "f").stat()
    expected = (1000, 5) if sandbox.privileged() else (os.geteuid(), os.getegid())
    assert (info.st_uid, info.st_gid) == expected
    assert stat.S_IMODE(info.st_mode) == 0o4755


def test_a_tree_without_owners_is_not_for_root_nor_the_other_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root and an ordinary user on one cache: the test is one of them, and is told to be the other."""
    layer = put_layer(store, tar([member("f", b"x", uid=1000, gid=5)]))
    own = unpack(layer, store=store, report=QUIET)
    was_root = sandbox.all_ids()
    monkeypatch.setattr(sandbox, "all_ids", lambda: not was_root)
    if was_root:
        other = unpack(layer, store=store, report=QUIET)
        assert ((own / "f").stat().st_uid, (other / "f").stat().st_uid) == (1000, os.geteuid())
        assert unpack_all([layer], store=store, report=QUIET) == [other]
    else:
        with pytest.raises(StoreError):  # it may not give files away, so it did try
            unpack(layer, store=store, report=QUIET)
    monkeypatch.undo()
    assert unpack_all([layer], store=store, report=QUIET) == [own]


def test_extended_attributes(store: Store) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    headers = {
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
    }
    layer = put_layer(store, tar([member("f", b"", pax_headers=headers), member("d", pax_headers=headers)]))
    path = unpack(layer, store=store, report=QUIET)
    names = set(os.listxattr(path / "f"))
    assert "user.note" in names
    assert not {name for name in names | set(os.listxattr(path / "d")) if "overlay" in name}
    if sandbox.privileged():
        assert os.getxattr(path / "f", "security.capability") == capability


def test_later_entries_replace_earlier_ones(store: Store) -> None:
    members = [
        member("a", b"old"),
        member("a", b"new"),
        member("b", b"file"),
        member("b"),
        member("b/c", b""),
        member("d"),
        member("d/e", b""),
        symlink("d", "a"),
        member("x"),
        member("x", mode=0o700),
    ]
    path = unpack(put_layer(store, tar(members)), store=store, report=QUIET)
    assert tree(path) == {
        "a": "-rw-r--r-- new",
        "b": "drwxr-xr-x",
        "b/c": "-rw-r--r--",
        "d": "lrwxrwxrwx a",
        "x": "drwx------",
    }


@pytest.mark.parametrize("prefix", ["/", "./", "//./"])
def test_names_from_the_root(store: Store, prefix: str) -> None:
    layer = put_layer(store, tar([member(prefix), member(prefix + "etc/x", b"x")]))
    assert "etc/x" in tree(unpack(layer, store=store, report=QUIET))


@pytest.mark.parametrize(
    "members",
    [
        [member("../out", b"x")],
        [member("a/../../out", b"x")],
        [member("a/..", b"x")],
        [symlink("l", "/"), member("l/out", b"x")],
        [symlink("l", ".."), member("l/out", b"x")],
        [symlink("l", "/tmp"), member("l/out")],
        [member("d"), symlink("d/l", "../.."), member("d/l/out/deep", b"x")],
        [member("f", b""), member("f/out", b"x")],
        [hardlink("h", "/etc/passwd")],
        [hardlink("h", "../../out")],
        [symlink("l", "/etc/passwd"), hardlink("l/h", "l")],
        [symlink("l", "/etc"), hardlink("h", "l/passwd")],
        [member("d"), hardlink("h", "d")],
        [member(".wh.x", b""), hardlink("h", "x")],
        [member("d/.wh...", b"")],
        [member("d/.wh..", b"")],
        [member("d/.wh.", b"")],
        [symlink("l", "/tmp"), member("l/.wh.x", b"")],
        [symlink("l", "/tmp"), member("l/.wh..wh..opq", b"")],
        [member("/", b"x")],
    ],
    ids=range(20),
)
def test_hostile_layers(store: Store, tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    layer = put_layer(store, tar(members))
    before = {path for path in tmp_path.rglob("*") if "unpacked" not in str(path)}
    with pytest.raises(LayerError, match=f"the layer `{layer.digest}` is hostile"):
        unpack(layer, store=store, report=QUIET)
    assert {path for path in tmp_path.rglob("*") if "unpacked" not in str(path)} == before
    assert list((store.root / "unpacked").iterdir()) == []


def damaged(layer: PackedLayer, store: Store, blob: bytes) -> PackedLayer:
    return dataclasses.replace(layer, digest=store.put(blob), size=len(blob))


def test_damaged_layers(store: Store) -> None:
    data = tar([member("a", os.urandom(50_000))])
    layer = put_layer(store, data)
    good = store.read_blob(layer.digest)
    flipped = bytearray(good)
    flipped[len(flipped) // 2] ^= 0xFF
    cases = {
        "short gzip": good[: len(good) // 2],
        "flipped": bytes(flipped),
        "short tar": gzip.compress(data[:30_000]),
        "another tar": gzip.compress(tar([member("b", b"")])),
        "more after the end": gzip.compress(data + bytes(512)),
        "rubbish after the end": good + b"rubbish",
        "no archive": b"hello" * 1000,
        "empty": b"",
        "short zstd": b"\x28\xb5\x2f\xfd",
    }
    for name, blob in cases.items():
        with pytest.raises(StoreError) as problem:
            unpack(damaged(layer, store, blob), store=store, report=QUIET)
        assert "damaged" in problem.value.brief or "does not hold what it should" in problem.value.brief, name
        assert "build or pull the image again" in (problem.value.hint or "")
        assert list((store.root / "unpacked").iterdir()) == [], name


def test_an_absent_layer_is_fetched(store: Store) -> None:
    data = tar([member("a", b"x")])
    blob = gzip.compress(data)
    layer = put_layer(store, data)
    store.blob_path(layer.digest).unlink()
    with pytest.raises(StoreError, match="is not in the store"):
        unpack(layer, store=store, report=QUIET)
    asked = []

    def fetch(wanted: PackedLayer) -> None:
        asked.append(wanted)
        store.put(blob)

    for _ in range(2):
        assert (unpack(layer, store=store, report=QUIET, fetch=fetch) / "a").exists()
    assert asked == [layer]


def test_order_and_repetition(store: Store) -> None:
    layers = [put_layer(store, tar([member(str(number), b"")])) for number in range(8)]
    wanted = [*layers, layers[0]]
    paths = unpack_all(wanted, store=store, report=QUIET)
    assert [sorted(p.name for p in path.iterdir()) for path in paths] == [[str(n)] for n in (*range(8), 0)]


def _unpack_in_another_process(root: Path, layer: PackedLayer) -> None:
    with Store.open(root) as store:
        unpack(layer, store=store, report=QUIET)


def test_several_processes_at_once(store: Store) -> None:
    content = {f"d{n % 7}/f{n}": os.urandom(100) for n in range(600)}
    layer = put_layer(store, tar([member(name, data) for name, data in content.items()]))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_unpack_in_another_process, args=(store.root, layer)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    path = store.unpacked_path(layer.diff_id, owners=sandbox.all_ids())
    assert {name: (path / name).read_bytes() for name in content} == content
    assert [p.name for p in path.parent.iterdir()] == [path.name]


class Deadly(Quiet):
    """Ends the process by signal 9 when it is told of progress for the third time."""

    told = 0

    def advance(self, label: str, done: int, total: int) -> None:
        self.told += 1
        if self.told == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def _die_while_unpacking(root: Path, layer: PackedLayer) -> None:
    with Store.open(root) as store:
        unpack(layer, store=store, report=Deadly())


def test_kill_9_in_the_middle(store: Store) -> None:
    content = [member(f"f{n}", bytes(10)) for n in range(6_000)]
    layer = put_layer(store, tar(content), compress=lambda data: zlib.compress(data, 1, 31))
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=_die_while_unpacking, args=(store.root, layer))
    worker.start()
    path = store.unpacked_path(layer.diff_id, owners=sandbox.all_ids())
    partial = path.with_name(path.name + ".partial")
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert 0 < sum(1 for _ in partial.iterdir()) < len(content)
    assert not path.exists()
    assert sum(1 for _ in unpack(layer, store=store, report=QUIET).iterdir()) == len(content)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_reading_stops_when_closed(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(gzip.compress(bytes(50_000_000), 1))
    with blob.open("rb") as file, Inflated(file) as stream:
        assert stream.read(10) == bytes(10)
