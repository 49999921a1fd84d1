"""Pruning: what goes first, what stays, whom it waits for."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from small_images import add_image, add_layer, digest_of, tar_of, two_layers
from store_checks import kinds, old, verify

from builder.errors import StoreError
from builder.report import Quiet
from builder.store import Store, StoredImage

PLAIN = "application/vnd.oci.image.layer.v1.tar"


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
