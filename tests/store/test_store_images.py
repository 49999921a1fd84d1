"""The images of a store, by name and digest; what does not belong there stays."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from small_images import add_image, add_layer, digest_of, tar_of

from builder.errors import ConfigError, StoreError
from builder.oci import Descriptor
from builder.store import Store, StoredImage


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
