"""The store's blobs, inputs, layers and file hashes: what it keeps and what it refuses."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_images import add_image, digest_of, two_layers
from store_checks import verify

from builder.errors import LayerError, StoreError
from builder.oci import PackedLayer
from builder.store import Store

ROOT = Path(__file__).parents[2]
PLAIN = "application/vnd.oci.image.layer.v1.tar"


# Blobs and inputs


def test_writer(store: Store) -> None:
    with store.writer() as writer:
        writer.write(b"hello ")
        writer.write(memoryview(bytearray(b"world")))
        assert writer.tell() == 11
        digest, size = writer.commit()
    assert (digest, size) == (digest_of(b"hello world"), 11)
    assert store.read_blob(digest) == b"hello world"
    assert store.put(b"hello world") == digest
    assert list((store.root / "tmp").iterdir()) == []


def test_writer_without_commit_leaves_nothing(store: Store) -> None:
    with store.writer() as writer:
        writer.write(b"half")
    with pytest.raises(RuntimeError, match="stop"), store.writer() as writer:
        writer.write(b"half")
        raise RuntimeError("stop")
    assert list((store.root / "tmp").iterdir()) == []
    assert verify(store.root) == 0


def test_writer_refuses_another_content(store: Store) -> None:
    with store.writer() as writer, pytest.raises(StoreError, match="not what it should be") as caught:
        writer.write(b"one")
        writer.commit(digest_of(b"two"))
    assert digest_of(b"one") in str(caught.value)
    assert digest_of(b"two") in str(caught.value)
    assert verify(store.root) == 0


def test_writer_that_does_not_hash(store: Store) -> None:
    with store.writer(hashing=False) as writer:
        writer.write(b"trusted")
        assert writer.commit(digest_of(b"trusted")) == (digest_of(b"trusted"), 7)
    assert verify(store.root) == 1


def test_damaged_blob_is_noticed(store: Store) -> None:
    digest = store.put(b"good")
    store.blob_path(digest).write_bytes(b"evil")
    with pytest.raises(StoreError, match="damaged"):
        store.read_blob(digest)
    # of another size, it is written anew by whoever makes it again
    store.blob_path(digest).write_bytes(b"ev")
    store.put(b"good")
    assert store.read_blob(digest) == b"good"


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 32, "sha256:" + "G" * 64])
def test_digests_cannot_name_paths(store: Store, digest: str) -> None:
    with pytest.raises(StoreError, match="not a sha256 digest"):
        store.blob_path(digest)
    with pytest.raises(StoreError, match="not a sha256 digest"):
        store.file_path(digest.removeprefix("sha256:") + "/")


def test_inputs(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"wheel")
    sha256 = store.add_file(tmp_path / "x.whl")
    assert sha256 == hashlib.sha256(b"wheel").hexdigest()
    assert store.has_file(sha256)
    assert store.file_path(sha256).read_bytes() == b"wheel"
    other = hashlib.sha256(b"other").hexdigest()
    with store.file_writer(other, 5) as writer:
        writer.write(b"other")
        writer.commit()
    assert store.has_file(other)
    third = hashlib.sha256(b"third").hexdigest()
    for content, size in ((b"thirt", 5), (b"third", 6)):
        with store.file_writer(third, size) as writer, pytest.raises(StoreError, match="not what it should be"):
            writer.write(content)
            writer.commit()
    assert not store.has_file(third)
    with pytest.raises(StoreError, match="could not read"):
        store.add_file(tmp_path / "absent")


# Layers and file hashes


def test_layer_is_known_only_while_its_blob_is_whole(store: Store) -> None:
    digest = store.put(b"layer")
    packed = PackedLayer(digest=digest, diff_id=digest_of(b"tar"), size=5, media_type=PLAIN)
    assert store.layer("key") is None
    store.record_layer("key", packed)
    assert store.layer("key") == packed
    assert store.layer_by_diff_id(packed.diff_id) == packed
    store.blob_path(digest).write_bytes(b"lay")
    assert store.layer("key") is None
    store.blob_path(digest).unlink()
    assert store.layer("key") is None
    assert store.layer_by_diff_id(packed.diff_id) is None


def test_layer_by_diff_id_finds_the_copy_that_is_here(store: Store) -> None:
    diff_id = digest_of(b"tar")
    gone = PackedLayer(digest=digest_of(b"gone"), diff_id=diff_id, size=4, media_type=PLAIN)
    here = PackedLayer(digest=store.put(b"here"), diff_id=diff_id, size=4, media_type=PLAIN)
    store.record_layer("a", gone)
    store.record_layer("b", here)
    assert store.layer_by_diff_id(diff_id) == here


def test_hash_file_is_remembered_until_the_file_changes(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"1" * 1000)
    time.sleep(0.05)  # the file must be older than one tick of the kernel's clock to be remembered
    first = store.hash_file(path, path.stat())
    assert first == hashlib.sha256(b"1" * 1000).hexdigest()
    stat = path.stat()
    store.close()
    with Store.open(store.root) as again:
        hidden = path.rename(tmp_path / "hidden")
        os.rename(hidden, path)  # the rename moves ctime on
        assert again.hash_file(path, path.stat()) == first
        time.sleep(0.05)
        assert again.hash_file(path, path.stat()) == first
        remembered = path.stat()
        path.unlink()
        assert again.hash_file(path, remembered) == first, "answered without reading the file"
        path.write_bytes(b"2" * 1000)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert again.hash_file(path, path.stat()) == hashlib.sha256(b"2" * 1000).hexdigest()


def test_hash_file_is_not_fooled_by_quick_writes(store: Store, tmp_path: Path) -> None:
    """Writes within one tick of the clock leave all times as they were (racy entries)."""
    path = tmp_path / "f"
    for number in range(300):
        path.write_bytes(b"%04d" % number)
        assert store.hash_file(path, path.stat()) == hashlib.sha256(b"%04d" % number).hexdigest()


def test_hash_file_of_a_file_that_changes(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    stat = path.stat()
    path.write_bytes(b"longer")
    with pytest.raises(LayerError, match="changed while it was read"):
        store.hash_file(path, stat)
    path.unlink()
    with pytest.raises(LayerError, match="could not read"):
        store.hash_file(path, stat)


def test_memos(store: Store) -> None:
    assert store.memo("a", "b") is None
    store.remember("a", "b", "one")
    store.remember("a", "b", "two")
    assert store.memo("a", "b") == "two"
    assert store.memo("b", "a") is None


# Opening


def test_open_is_lazy_about_imports() -> None:
    code = (
        "import sys, builder.store; heavy = {'requests', 'pydantic', 'tarfile', 'asyncio', 'urllib3', 'yaml'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_newer_store_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "c").close()
    with sqlite3.connect(tmp_path / "c" / "index.sqlite") as connection:
        connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="made by a newer cogsmith") as caught:
        Store.open(tmp_path / "c")
    assert "upgrade" in str(caught.value.hint)


def test_damaged_index_database(tmp_path: Path) -> None:
    Store.open(tmp_path / "c").close()
    (tmp_path / "c" / "index.sqlite").write_bytes(b"this is no database, not at all" * 100)
    with pytest.raises(StoreError, match="could not use the index") as caught:
        Store.open(tmp_path / "c")
    assert "remove" in str(caught.value.hint)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not make the cache"):
        Store.open(tmp_path / "file" / "cache")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_any_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with Store.open(tmp_path / "c") as store:
            image = add_image(store, "x", two_layers(store))
        with Store.open(tmp_path / "c") as store:
            assert store.image("x") == image
    finally:
        os.umask(before)


def test_open_sweeps_only_what_is_dead(tmp_path: Path) -> None:
    with Store.open(tmp_path / "c") as store:
        (store.root / "tmp" / "leftover").write_bytes(b"of a dead process")
        (store.root / "tmp" / ("0" * 64 + ".part")).write_bytes(b"half a download")
        with store.writer() as writer, store.scratch() as scratch:
            writer.write(b"alive")
            Store.open(tmp_path / "c").close()
            assert scratch.is_dir()
            assert len(list((store.root / "tmp").iterdir())) == 3
            writer.commit()
        assert [path.name for path in (store.root / "tmp").iterdir()] == ["0" * 64 + ".part"]
