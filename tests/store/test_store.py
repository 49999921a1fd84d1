"""The store: what it keeps, what it refuses, and what `kill -9`, a crowd and a full disk do to it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_images import add_image, add_layer, digest_of, tar_of, two_layers

from builder.errors import ConfigError, LayerError, StoreError
from builder.oci import Descriptor, PackedLayer
from builder.report import Quiet
from builder.store import Store, StoredImage

ROOT = Path(__file__).parents[2]
PLAIN = "application/vnd.oci.image.layer.v1.tar"


def verify(root: Path) -> int:
    """Every blob and input has the content that its name says; how many there are."""
    count = 0
    for folder in (root / "blobs" / "sha256", root / "files" / "sha256"):
        for path in folder.iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            count += 1
    return count


def kinds(store: Store) -> dict[str, tuple[int, int]]:
    return {usage.kind: (usage.count, usage.size) for usage in store.usage()}


def old(path: Path, age: int) -> None:
    """Make a thing look last used `age` seconds ago."""
    now = time.time()
    os.utime(path, (now - age, now - age))


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


# Images


def test_images_by_name_and_digest(store: Store, make_image: Callable[[Store, str], StoredImage]) -> None:
    image = make_image(store, "hello")
    assert image.name == "hello:latest"
    other = add_image(store, "r8.im/me/model:v2", [add_layer(store, tar_of({"x": b"y"}))])
    assert [i.name for i in store.images()] == ["hello:latest", "r8.im/me/model:v2"]
    hexadecimal = image.digest.removeprefix("sha256:")
    for reference in ("hello", "hello:latest", image.digest, hexadecimal, hexadecimal[:12], image.digest[:15]):
        assert store.image(reference) == image, reference
    assert store.image(f"r8.im/me/model@{other.digest}") == other
    for reference in ("hello:v1", "other", "r8.im/me/model", f"hello@{other.digest}", "sha256:" + "0" * 64):
        assert store.image(reference) is None, reference
    with pytest.raises(ConfigError):
        store.image("Not A Name")


def test_ambiguous_prefix(store: Store) -> None:
    seen: dict[str, str] = {}
    number = 0
    while True:  # two manifests whose digests begin alike
        data = json.dumps({"n": number}).encode()
        digest = digest_of(data)
        if digest[7:11] in seen:
            break
        seen[digest[7:11]] = f"img{number}"
        number += 1
    for each in (number, int(seen[digest[7:11]][3:])):
        data = json.dumps({"n": each}).encode()
        store.put(data)
        store.set_image(f"img{each}", Descriptor(media_type="x/y", digest=digest_of(data), size=len(data)))
    with pytest.raises(StoreError, match="beginning of 2 digests"):
        store.image(digest[:11])


def test_a_name_moves_and_goes(store: Store, make_image: Callable[[Store, str], StoredImage]) -> None:
    first = make_image(store, "hello")
    second = add_image(store, "hello", [add_layer(store, tar_of({"x": b"y"}))])
    assert store.image("hello") == second
    assert store.image(first.digest) is None
    store.set_image("alias:v1", second.descriptor)
    assert store.remove_image("hello")
    assert not store.remove_image("hello")
    assert [i.name for i in store.images()] == ["alias:v1"]
    store.set_image("beta", second.descriptor)
    assert store.remove_image(second.digest), "a digest removes all its names"
    assert store.images() == []


def test_damaged_image_does_not_hide_the_others(store: Store, make_image: Callable[[Store, str], StoredImage]) -> None:
    image = make_image(store, "good")
    bad = add_image(store, "bad", [add_layer(store, tar_of({"x": b"y"}))])
    store.blob_path(bad.manifest["config"]["digest"]).unlink()
    assert store.images() == [image]
    with pytest.raises(StoreError, match="could not read the blob"):
        store.image("bad")
    with pytest.raises(StoreError, match="is not in the store"):
        store.set_image("x", Descriptor(media_type="x", digest="sha256:" + "0" * 64, size=1))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"manifests": 7}', '{"manifests": [7]}'])
def test_damaged_index(store: Store, content: str) -> None:
    (store.root / "index.json").write_text(content)
    with pytest.raises(StoreError, match=r"index\.json` is damaged"):
        store.images()


def test_foreign_entries_survive(store: Store, make_image: Callable[[Store, str], StoredImage]) -> None:
    """Another tool may write to the layout: what it put there stays."""
    image = make_image(store, "ours")
    index = json.loads((store.root / "index.json").read_text())
    entry = {**image.descriptor.to_json(), "annotations": {"org.opencontainers.image.ref.name": "theirs", "x": "y"}}
    index["manifests"].append(entry)
    (store.root / "index.json").write_text(json.dumps(index))
    assert store.image("theirs") is not None
    store.set_image("more", image.descriptor)
    assert entry in json.loads((store.root / "index.json").read_text())["manifests"]


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


# Pruning


def filled(store: Store) -> StoredImage:
    image = add_image(store, "kept", two_layers(store))
    store.record_layer("orphan", add_layer(store, tar_of({"orphan": b"o" * 3000}), compression="plain"))
    (store.root / "input").write_bytes(b"i" * 1000)
    store.add_file(store.root / "input")
    (store.root / "input").unlink()
    for layer in image.layers:
        tree = store.unpacked_path(layer.diff_id, owners=True)
        tree.mkdir()
        (tree / "file").write_bytes(b"u" * 5000)
    (store.root / "tmp" / "leftover").write_bytes(b"t" * 10)
    store.remember("kind", "key", "value")
    return image


def test_usage(store: Store) -> None:
    image = filled(store)
    found = kinds(store)
    assert list(found) == ["layers", "inputs", "images", "unpacked", "temporary", "memos"]
    assert found["layers"][0] == 3
    assert found["images"] == (2, image.size - sum(layer.size for layer in image.layers))
    assert found["inputs"] == (1, 1000)
    assert found["unpacked"][0] == 2
    assert found["unpacked"][1] >= 10000
    assert found["temporary"] == (1, 10)
    assert found["memos"][0] == 1


def test_prune_keeps_what_images_need(store: Store) -> None:
    image = filled(store)
    before = kinds(store)
    promised = store.prune(dry_run=True)
    assert kinds(store) == before
    gone = store.prune()
    assert gone == promised
    assert sorted({item.kind for item in gone}) == ["inputs", "layers", "temporary", "unpacked"]
    after = kinds(store)
    assert after["layers"][0] == 2
    assert (after["inputs"], after["unpacked"], after["temporary"]) == ((0, 0), (0, 0), (0, 0))
    assert store.image("kept") == image
    assert store.layer("orphan") is None
    assert store.memo("kind", "key") == "value"
    assert store.prune() == ()


def test_prune_everything(store: Store) -> None:
    filled(store)
    store.prune(everything=True)
    assert all(usage.count == 0 for usage in store.usage())
    assert store.images() == []
    assert store.memo("kind", "key") is None
    filled(store)
    assert len(store.images()) == 1


def test_prune_without_keeping_images(store: Store) -> None:
    filled(store)
    store.prune(keep_images=False)
    assert store.images() == []
    assert verify(store.root) == 0
    assert store.memo("kind", "key") == "value"


def test_prune_to_a_bound_goes_by_last_use(store: Store) -> None:
    names = []
    for number in range(5):
        path = store.root / "input"
        path.write_bytes(b"%d" % number * 1000)
        names.append(store.add_file(path))
        path.unlink()
        old(store.root / "files" / "sha256" / names[-1], 1000 - number)
    assert store.has_file(names[0])  # now the most recently used
    gone = store.prune(max_bytes=2500)
    assert [item.name for item in gone] == [names[1], names[2], names[3]]
    assert store.has_file(names[0])
    assert store.has_file(names[4])
    assert store.prune(max_bytes=2500) == ()


def test_prune_hands_trees_over(store: Store) -> None:
    filled(store)
    trees: list[Path] = []

    def remove_tree(path: Path) -> None:
        trees.append(path)
        shutil.rmtree(path)

    store.prune(remove_tree=remove_tree)
    assert sorted(path.parent.name for path in trees) == ["unpacked", "unpacked"]


def test_prune_goes_on_after_a_failure(store: Store) -> None:
    filled(store)

    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    with pytest.raises(StoreError, match="could not remove 2 of") as caught:
        store.prune(remove_tree=refuse)
    assert "operation not permitted" in str(caught.value)
    assert kinds(store)["inputs"] == (0, 0)


def test_an_image_in_use_keeps_all_its_blobs_in_a_bound(
    store: Store, make_image: Callable[[Store, str], StoredImage]
) -> None:
    image = make_image(store, "used")
    for number, path in enumerate(sorted((store.root / "blobs" / "sha256").iterdir())):
        old(path, 1000 + number)
    (store.root / "input").write_bytes(b"i" * 1000)
    sha256 = store.add_file(store.root / "input")
    (store.root / "input").unlink()
    old(store.file_path(sha256), 500)
    assert store.image("used") == image
    gone = store.prune(keep_images=False, max_bytes=image.size)
    assert [item.name for item in gone] == [sha256]
    assert store.image("used") == image


@pytest.mark.parametrize("lost", ["manifest", "config"])
def test_an_image_without_its_documents_is_an_error(
    store: Store, make_image: Callable[[Store, str], StoredImage], lost: str
) -> None:
    image = make_image(store, "lost")
    store.blob_path(image.digest if lost == "manifest" else image.manifest["config"]["digest"]).unlink()
    with pytest.raises(StoreError):
        store.image("lost")
    assert store.images() == []


def test_trees_with_and_without_owners_are_two(store: Store) -> None:
    diff_id = digest_of(b"tar")
    trees = [store.unpacked_path(diff_id, owners=owners) for owners in (True, False)]
    for tree in trees:
        assert not tree.exists()
        with store.unpacked_lock(diff_id, owners=tree is trees[0]):
            tree.mkdir()
        (tree / "file").write_bytes(b"u" * 5000)
    assert kinds(store)["unpacked"][0] == 2
    old(store.root / "locks" / f"unpacked-{trees[0].name}", 1000)
    first = store.prune(max_bytes=kinds(store)["unpacked"][1] - 1)
    assert [item.path for item in first] == trees[:1]
    store.prune()
    assert list((store.root / "unpacked").iterdir()) == []
    assert list((store.root / "locks").glob("unpacked-*")) == []


def test_a_system_without_fdatasync(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS is."""
    monkeypatch.delattr(os, "fdatasync")
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), fsync(fd)))
    assert store.read_blob(store.put(b"blob")) == b"blob"
    assert len(synced) == 1
    sha256 = hashlib.sha256(b"input").hexdigest()
    with store.partial_file(sha256) as partial:
        partial.write(b"input")
        partial.commit(store.file_path(sha256))
    assert store.has_file(sha256)
    assert len(synced) == 2
    with Store.open(tmp_path / "another") as another:
        assert add_image(another, "x", two_layers(another)) == another.image("x")


def test_a_dry_run_waits_for_nobody(store: Store) -> None:
    class Deaf(Quiet):
        def note(self, text: str) -> None:
            raise AssertionError(text)

    filled(store)
    with Store.open(store.root) as builder, builder.using():
        promised = store.prune(dry_run=True, report=Deaf())
        assert builder.prune(dry_run=True, report=Deaf()) == promised
    assert store.prune() == promised


def test_prune_waits_for_users_and_says_so(store: Store) -> None:
    class Listening(Quiet):
        said: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.said.append(text)
            let_go.set()

    let_go = threading.Event()
    digest = store.put(b"fresh, not yet in any image")
    order = []

    def build() -> None:
        with Store.open(store.root) as mine, mine.using():
            started.set()
            let_go.wait(10)
            order.append("built")
            assert mine.has_blob(digest)

    started = threading.Event()
    thread = threading.Thread(target=build)
    thread.start()
    started.wait(10)
    store.prune(report=Listening())
    order.append("pruned")
    thread.join()
    assert order == ["built", "pruned"]
    assert Listening.said == ["waiting for other cogsmith processes that use the cache"]
    assert not store.has_blob(digest)


# Processes

WRITER = """
import os, random, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_images import add_image, add_layer, tar_of
from builder.store import Store
store = Store.open(Path({root!r}))
rng = random.Random(int(sys.argv[1]))
print("ready", flush=True)
count = int(sys.argv[2])
while count:
    count -= 1
    n = rng.randrange(40)
    with store.using():
        layer = add_layer(store, tar_of({{f"f{{n}}": bytes([n]) * 200000}}), compression="plain")
        store.record_layer(f"k{{n}}", layer)
        with store.writer() as writer:
            for _ in range(20):
                writer.write(bytes([n]) * 10000)
            writer.commit()
        store.add_file(Path(sys.executable))
        add_image(store, f"image{{n % 5}}", [layer])
        store.remember("k", str(n), "v")
    print("one more", flush=True)
store.close()
"""


def start(root: Path, *, seed: int, count: int) -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(ROOT / "tests"), root=str(root))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(seed), str(count)], env=env, stdout=subprocess.PIPE, text=True
    )


def test_killed_thirty_times(tmp_path: Path) -> None:
    root = tmp_path / "c"
    rng = random.Random(1)
    for round_ in range(30):
        child = start(root, seed=round_, count=-1)
        assert child.stdout is not None
        if round_ % 5:  # some die while they open the store
            for _ in range(rng.randrange(1, 4)):
                child.stdout.readline()
            time.sleep(rng.uniform(0, 0.03))
        else:
            time.sleep(rng.uniform(0, 0.4))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Store.open(root) as store:
            assert list((root / "tmp").iterdir()) == []
            for image in store.images():
                assert store.image(image.name) == image
                assert all(store.has_blob(layer.digest) for layer in image.layers)
            store.put(b"still writable %d" % round_)
    verify(root)
    with Store.open(root) as store:
        assert len(store.images()) >= 2
        store.prune(everything=True)
        assert verify(root) == 0


def test_four_processes_at_once(tmp_path: Path) -> None:
    root = tmp_path / "c"
    children = [start(root, seed=seed, count=25) for seed in range(4)]
    for child in children:
        out, _ = child.communicate(timeout=120)
        assert (child.returncode, out) == (0, "ready\n" + "one more\n" * 25)
    with Store.open(root) as store:
        assert {image.name for image in store.images()} == {f"image{n}:latest" for n in range(5)}
        assert list((root / "tmp").iterdir()) == []
        assert verify(root) == len(list((root / "blobs/sha256").iterdir())) + 1


# Disks

FULL = """
import errno, os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_images import add_image, two_layers
from builder.errors import StoreError
from builder.store import Store
root = Path({root!r}) / "cache"
with Store.open(root) as store:
    image = add_image(store, "before", two_layers(store))
    ballast = store.add_file(Path({root!r}) / "ballast")
    (Path({root!r}) / "ballast").unlink()
    failures = []
    for attempt in range(3):
        try:
            with store.writer() as writer:
                for n in range(10000):
                    writer.write(os.urandom(65536))
                writer.commit()
        except StoreError as problem:
            failures.append(problem)
    assert len(failures) == 3, failures
    for problem in failures:
        assert "no space left on device" in problem.brief, problem
        assert "cache prune" in problem.hint, problem
    filler = Path({root!r}) / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as problem:
                assert problem.errno == errno.ENOSPC
    for work in (
        lambda: store.put(b"x" * 5000),
        lambda: store.set_image("after", image.descriptor),
        lambda: [store.remember("k", str(n), "v" * 1000) for n in range(10000)],
    ):
        try:
            work()
        except StoreError as problem:
            assert problem.hint, problem
        else:
            raise AssertionError(work)
    assert store.image("before") == image
    assert list((root / "tmp").iterdir()) == []
# a store on a full disk opens, and can be pruned
with Store.open(root) as store:
    assert store.image("before") == image
    assert [item.name for item in store.prune() if item.kind == "inputs"] == [ballast]
    store.put(b"x" * 5000)
    store.set_image("after", image.descriptor)
print("survived")
"""


def test_full_disk(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting a small file system needs root and unshare")
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "code.py").write_text(FULL.format(tests=str(ROOT / "tests"), root=str(disk)))
    script = (
        f"mount -t tmpfs -o size=8m tmpfs {disk} && head -c 1000000 /dev/urandom > {disk}/ballast"
        f" && PYTHONPATH={ROOT} {sys.executable} {tmp_path}/code.py"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    if "permission denied" in done.stderr.lower() and "mount" in done.stderr:
        pytest.skip("this machine does not let root mount a tmpfs")
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


READ_ONLY = """
import sys
from pathlib import Path
from builder.errors import StoreError
from builder.store import Store
try:
    Store.open(Path({root!r}))
except StoreError as problem:
    assert problem.hint, problem
    print(problem.brief)
"""


def test_read_only_store(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting read-only needs root and unshare")
    root = tmp_path / "c"
    with Store.open(root) as store:
        add_image(store, "x", two_layers(store))
    script = f"mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec {sys.executable} -c '$CODE'"
    code = READ_ONLY.format(root=str(root)).replace("'", '"')
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script.replace("$CODE", code)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if "permission denied" in done.stderr.lower():
        pytest.skip("this machine does not let root mount")
    assert done.returncode == 0, done.stderr
    assert "could not" in done.stdout, done.stdout + done.stderr
