"""Export and import: our own round trip, bad archives, and what other tools make of it."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from small_images import add_image, add_layer, digest_of, members, tar_of, two_layers

from builder import oci
from builder.errors import CogsmithError, StoreError
from builder.layout import FORMS, Form, export_image, import_image
from builder.oci import PackedLayer
from builder.report import Quiet
from builder.store import Store, StoredImage

Make = Callable[[Store, str], StoredImage]


def export(store: Store, image: StoredImage, path: Path, form: Form) -> Path:
    export_image(store, image=image, path=path, form=form, report=Quiet())
    return path


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy an archive, letting `change` replace or (None) drop files."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            file = old.extractfile(member)
            data = change(member.name, file.read() if file else b"")
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    return target


@pytest.mark.parametrize("form", FORMS)
def test_round_trip_keeps_digest_and_name(store: Store, tmp_path: Path, make_image: Make, form: Form) -> None:
    image = make_image(store, "registry.example:5000/team/hello:v1")
    path = export(store, image, tmp_path / "out", form)
    with Store.open(tmp_path / "other") as other:
        assert import_image(other, path=path, report=Quiet()) == image
        again = import_image(other, path=path, report=Quiet(), name="renamed")
        assert (again.name, again.digest) == ("renamed:latest", image.digest)
        for layer in image.layers:
            assert other.blob_path(layer.digest).read_bytes() == store.blob_path(layer.digest).read_bytes()


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_archives_are_reproducible(store: Store, tmp_path: Path, make_image: Make, form: Form) -> None:
    image = make_image(store, "hello")
    first = export(store, image, tmp_path / "one.tar", form).read_bytes()
    old = os.umask(0o077)
    try:
        second = export(store, image, tmp_path / "two.tar", form).read_bytes()
    finally:
        os.umask(old)
    assert first == second


def test_exported_folder_takes_a_second_image(store: Store, tmp_path: Path, make_image: Make) -> None:
    first = make_image(store, "first")
    second = add_image(store, "second", [add_layer(store, tar_of({"a": b"b"}))])
    for image in (first, second, first):
        export(store, image, tmp_path / "dir", "oci-dir")
    with Store.open(tmp_path / "other") as other:
        with pytest.raises(StoreError, match="2 images"):
            import_image(other, path=tmp_path / "dir", report=Quiet())
        got = import_image(other, path=tmp_path / "dir", report=Quiet(), select="second:latest")
        assert got.digest == second.digest
        with pytest.raises(StoreError, match="no image named `third`") as caught:
            import_image(other, path=tmp_path / "dir", report=Quiet(), select="third")
        assert "first:latest" in str(caught.value)


def test_export_repairs_a_damaged_folder(store: Store, tmp_path: Path, make_image: Make) -> None:
    image = make_image(store, "x")
    path = export(store, image, tmp_path / "dir", "oci-dir")
    blob = path / "blobs" / "sha256" / image.layers[0].digest.removeprefix("sha256:")
    blob.write_bytes(b"?" * blob.stat().st_size)
    with Store.open(tmp_path / "other") as other, pytest.raises(StoreError, match="is damaged"):
        import_image(other, path=path, report=Quiet())
    export(store, image, path, "oci-dir")
    with Store.open(tmp_path / "other") as other:
        assert import_image(other, path=path, report=Quiet()) == image


def test_export_refuses_a_folder_of_something_else(store: Store, tmp_path: Path, make_image: Make) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match="not an OCI layout"):
        export(store, make_image(store, "x"), tmp_path / "dir", "oci-dir")
    with pytest.raises(StoreError, match="is a folder"):
        export(store, make_image(store, "x"), tmp_path / "dir", "oci-archive")
    with pytest.raises(StoreError, match="could not write"):
        export(store, make_image(store, "x"), tmp_path / "absent" / "x.tar", "oci-archive")


def test_export_of_damaged_blob_fails_and_leaves_nothing(store: Store, tmp_path: Path, make_image: Make) -> None:
    image = make_image(store, "x")
    blob = store.blob_path(image.layers[0].digest)
    blob.write_bytes(b"?" * blob.stat().st_size)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(StoreError, match="damaged"):
        export(store, image, out / "x.tar", "docker-archive")
    assert list(out.iterdir()) == []


def test_export_fetches_missing_base(store: Store, tmp_path: Path, make_image: Make) -> None:
    image = make_image(store, "x")
    base = store.blob_path(image.layers[0].digest)
    data = base.read_bytes()
    base.unlink()
    with pytest.raises(StoreError, match="not in the store"):
        export(store, image, tmp_path / "x.tar", "oci-archive")
    asked: list[PackedLayer] = []

    def fetch(layer: PackedLayer) -> None:
        asked.append(layer)
        store.put(data)

    export_image(store, image=image, path=tmp_path / "x.tar", form="oci-archive", report=Quiet(), fetch_layer=fetch)
    assert asked == [image.layers[0]]
    with Store.open(tmp_path / "other") as other:
        assert import_image(other, path=tmp_path / "x.tar", report=Quiet()).digest == image.digest


def test_compressed_archive_is_read(store: Store, tmp_path: Path, make_image: Make) -> None:
    image = make_image(store, "x")
    path = export(store, image, tmp_path / "x.tar", "docker-archive")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    with Store.open(tmp_path / "other") as other:
        assert import_image(other, path=tmp_path / "x.tar.gz", report=Quiet()).digest == image.digest


@pytest.mark.parametrize("first", ["file", "link"])
def test_old_docker_archive_with_linked_layers(tmp_path: Path, first: str) -> None:
    """`docker save` before version 25: uncompressed layers in folders by name, equal ones as symbolic links."""
    layer = tar_of({"a": b"1"})
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)] * 2},
    }
    manifest = [{"Config": "c.json", "RepoTags": ["a:1", "b:2"], "Layers": ["l1/layer.tar", "l2/layer.tar"]}]
    path = tmp_path / "old.tar"
    link = tarfile.TarInfo("l2/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, "../l1/layer.tar"
    with tarfile.open(path, "w") as archive:
        if first == "link":
            archive.addfile(link)
        for name, data in (
            ("l1/layer.tar", layer),
            ("c.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if first == "file":
            archive.addfile(link)
    with Store.open(tmp_path / "cache") as store:
        image = import_image(store, path=path, report=Quiet())
        assert [i.name for i in store.images()] == ["a:1", "b:2"]
        assert [layer.diff_id for layer in image.layers] == config["rootfs"]["diff_ids"]  # type: ignore[index]


@pytest.mark.parametrize("compression", ["gzip", "plain", "zstd"])
def test_every_compression_is_verified(store: Store, tmp_path: Path, compression: str) -> None:
    tar = tar_of({f"f{i}": os.urandom(300) * 5 for i in range(200)})
    image = add_image(store, "x", [add_layer(store, tar, compression=compression)])
    path = export(store, image, tmp_path / "x.tar", "oci-archive")
    with Store.open(tmp_path / "other") as other:
        assert import_image(other, path=path, report=Quiet()) == image


class Notes(Quiet):
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def without_base(folder: Path, image: StoredImage, *, annotations: dict[str, str]) -> None:
    """Take the lowest layer out of a layout, and let the manifest say `annotations`."""
    blobs = folder / "blobs" / "sha256"
    (blobs / image.layers[0].digest.removeprefix("sha256:")).unlink()
    manifest = json.loads((blobs / image.digest.removeprefix("sha256:")).read_text())
    data = json.dumps({**manifest, "annotations": annotations}).encode()
    (blobs / digest_of(data).removeprefix("sha256:")).write_bytes(data)
    index = json.loads((folder / "index.json").read_text())
    index["manifests"][0] |= {"digest": digest_of(data), "size": len(data)}
    (folder / "index.json").write_text(json.dumps(index))


def test_a_layout_without_the_layers_of_its_base(store: Store, tmp_path: Path) -> None:
    """As the Nix backend leaves them out: they are in the registry of the base that the manifest names."""
    image = add_image(store, "x", two_layers(store))
    folder = export(store, image, tmp_path / "x", "oci-dir")
    shutil.copytree(folder, tmp_path / "nameless")
    without_base(folder, image, annotations={"org.opencontainers.image.base.name": "registry.example/base:1"})
    without_base(tmp_path / "nameless", image, annotations={"org.example": "yes"})
    with Store.open(tmp_path / "other") as other:
        report = Notes()
        imported = import_image(other, path=folder, report=report)
        assert imported.layers == image.layers
        assert [other.has_blob(layer.digest) for layer in imported.layers] == [False, True]
        assert report.told == [f"1 of 2 layers are not in `{folder}`: they are those of the image's base"]
        with pytest.raises(StoreError, match="is incomplete: it lacks the blob"):
            import_image(other, path=tmp_path / "nameless", report=Quiet())


@pytest.mark.parametrize("wanted", ["linux/arm64", "linux/arm64/v8"])
def test_the_usual_variant_may_be_left_out(store: Store, tmp_path: Path, wanted: str) -> None:
    layers = two_layers(store)
    parts = [(add_image(store, name, layers, platform=f"linux/{name}"), f"linux/{name}") for name in ("amd64", "arm64")]
    index = oci.image_index([(image.descriptor, platform) for image, platform in parts])
    folder = export(store, parts[0][0], tmp_path / "x", "oci-dir")
    export(store, parts[1][0], folder, "oci-dir")
    (folder / "blobs" / "sha256" / index.descriptor.digest.removeprefix("sha256:")).write_bytes(index.data)
    entry = index.descriptor.to_json()
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    with Store.open(tmp_path / "other") as other:
        found = import_image(other, path=folder, report=Quiet(), name="x:1", platform=wanted)
        assert found.digest == parts[1][0].digest
        with pytest.raises(StoreError, match="no image for the platform `linux/s390x`"):
            import_image(other, path=folder, report=Quiet(), name="x:2", platform="linux/s390x")


def damaged_blob(name: str, data: bytes) -> bytes | None:
    return b"\0" * len(data) if len(data) > 5000 else data


def missing_blob(name: str, data: bytes) -> bytes | None:
    return None if len(data) > 5000 else data


def broken_index(name: str, data: bytes) -> bytes | None:
    return data[:-5] if name == "index.json" else data


def strange_index(name: str, data: bytes) -> bytes | None:
    return b'{"manifests": [7]}' if name == "index.json" else data


def hostile_digest(name: str, data: bytes) -> bytes | None:
    if name != "index.json":
        return data
    index = json.loads(data)
    index["manifests"][0]["digest"] = "sha256:../../../../etc/passwd"
    return json.dumps(index).encode()


def nothing_known(name: str, data: bytes) -> bytes | None:
    return data if name.startswith("blobs/") else None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged_blob, "is damaged"),
        (missing_blob, "lacks the blob"),
        (broken_index, "is damaged"),
        (strange_index, "is damaged"),
        (hostile_digest, "not a sha256 digest"),
        (nothing_known, "neither an OCI archive nor a Docker archive"),
    ],
)
def test_bad_archives(
    store: Store,
    tmp_path: Path,
    make_image: Make,
    change: Callable[[str, bytes], bytes | None],
    message: str,
) -> None:
    path = export(store, make_image(store, "x"), tmp_path / "x.tar", "oci-archive")
    bad = rewrite(path, tmp_path / "bad.tar", change)
    with Store.open(tmp_path / "other") as other:
        with pytest.raises(StoreError, match=message):
            import_image(other, path=bad, report=Quiet())
        assert other.images() == []
        assert list((tmp_path / "other" / "tmp").iterdir()) == []


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_truncated_archive(store: Store, tmp_path: Path, make_image: Make, keep: float) -> None:
    path = export(store, make_image(store, "x"), tmp_path / "x.tar", "oci-archive")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with Store.open(tmp_path / "other") as other:
        with pytest.raises(StoreError):
            import_image(other, path=path, report=Quiet())
        assert other.images() == []


def test_lying_diff_id(store: Store, tmp_path: Path) -> None:
    layer = add_layer(store, tar_of({"a": b"b"}))
    lie = PackedLayer(digest=layer.digest, diff_id="sha256:" + "0" * 64, size=layer.size, media_type=layer.media_type)
    path = export(store, add_image(store, "x", [lie]), tmp_path / "x.tar", "oci-archive")
    with Store.open(tmp_path / "other") as other, pytest.raises(StoreError, match="not what the image's configuration"):
        import_image(other, path=path, report=Quiet())


@pytest.mark.parametrize("end", [-1, -9, -40])
def test_layer_that_ends_early(store: Store, tmp_path: Path, end: int) -> None:
    tar = tar_of({"a": os.urandom(3000)})
    blob = members(tar)[:end]
    store.put(blob)
    layer = PackedLayer(
        digest=digest_of(blob),
        diff_id=digest_of(tar),
        size=len(blob),
        media_type="application/vnd.oci.image.layer.v1.tar+gzip",
    )
    path = export(store, add_image(store, "x", [layer]), tmp_path / "x.tar", "oci-archive")
    with Store.open(tmp_path / "other") as other, pytest.raises(CogsmithError, match="ends early"):
        import_image(other, path=path, report=Quiet())


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f\x8bnot really", bytes(2048)])
def test_no_archive_at_all(store: Store, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(StoreError):
        import_image(store, path=tmp_path / "x", report=Quiet())
    with pytest.raises(StoreError, match="no file or folder"):
        import_image(store, path=tmp_path / "absent", report=Quiet())
    (tmp_path / "dir").mkdir()
    with pytest.raises(StoreError, match="not an OCI layout"):
        import_image(store, path=tmp_path / "dir", report=Quiet())


def test_two_layers_are_distinct(store: Store) -> None:
    lower, upper = two_layers(store)
    assert lower.digest != lower.diff_id
    assert upper.digest == upper.diff_id
