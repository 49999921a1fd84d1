"""Layers as other tools read them: an OCI layout of two of ours, through skopeo, umoci, buildah and podman."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import golden_layers
import pytest
from small_wheels import packed

from builder import oci
from builder.oci import Descriptor, Document, PackedLayer
from builder.plan import Compression, ImageConfig

pytestmark = pytest.mark.tool


def have(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"needs `{tool}`")
    return found


def run(*argv: str | Path, **env: str) -> str:
    done = subprocess.run(argv, capture_output=True, check=False, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(params=["gzip", "plain", "zstd"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An OCI layout with the image `test`: a layer of wheels, with spliced members, and one of files."""
    compression: Compression = request.param
    folder = tmp_path / "image"
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(document: Document) -> Descriptor:
        (blobs / document.descriptor.digest[7:]).write_bytes(document.data)
        return document.descriptor

    layers = []
    for kind in ("wheels", "files"):
        result, blob = packed(*getattr(golden_layers, kind)(tmp_path), compression=compression)
        (blobs / result.digest[7:]).write_bytes(blob)
        media_type = oci.LAYER_MEDIA_TYPES[compression]
        layers.append(
            PackedLayer(digest=result.digest, diff_id=result.diff_id, size=result.size, media_type=media_type)
        )
    config = ImageConfig(env=(), entrypoint=(), cmd=("true",), working_dir="/src", exposed_ports=(), labels=())
    document = oci.image_config(config, platform="linux/amd64", epoch=0, layers=layers, comments=["wheels", "files"])
    manifest = put(oci.image_manifest(put(document), layers=layers, annotations=()))
    named = manifest.to_json() | {"annotations": {oci.REF_NAME: "test"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [named]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


def check_tree(root: Path) -> None:
    """The files of both layers, with their content, links and modes."""
    site = root / "opt/venv/lib/python3.11/site-packages"
    assert (site / "golden/raw.bin").read_bytes() == bytes(range(256)) * 6
    assert (site / "golden/raw.bin").stat().st_mode & 0o777 == 0o755
    assert len((site / "golden/large.py").read_bytes()) == 5400
    assert (site / "golden/ünicode.txt").read_bytes() == b"name\n"
    assert [path.read_bytes() for path in site.glob("golden/p*/name-*.txt")] != []
    assert (
        hashlib.sha256((root / "src/large.bin").read_bytes()).digest() == hashlib.sha256(golden_layers.LARGE).digest()
    )
    assert (root / "src/link").readlink() == Path("sub/../predict.py")
    assert int((root / "src/run.sh").stat().st_mtime) == golden_layers.EPOCH


def test_skopeo(image: Path, tmp_path: Path) -> None:
    tool = have("skopeo")
    run(tool, "copy", "--dest-decompress", f"oci:{image}:test", f"dir:{tmp_path}/out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert len(manifest["layers"]) == 2
    root = tmp_path / "root"
    for layer in manifest["layers"]:  # what skopeo has inflated is a plain tar
        with tarfile.open(tmp_path / "out" / layer["digest"][7:], "r:") as tar:
            tar.extractall(root, filter="tar")
    check_tree(root)


def test_umoci(image: Path, tmp_path: Path) -> None:
    tool = have("umoci")
    manifest = json.loads((image / "index.json").read_text())["manifests"][0]["digest"][7:]
    media_type = json.loads((image / "blobs/sha256" / manifest).read_text())["layers"][0]["mediaType"]
    if media_type.endswith("zstd"):
        pytest.skip("`umoci` of Debian 12 reads no zstd layers")
    run(tool, "unpack", "--rootless", "--image", f"{image}:test", tmp_path / "bundle")
    check_tree(tmp_path / "bundle/rootfs")


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[list[str]]:
    """Options for a storage of its own; podman wants the path of its runroot short."""
    with tempfile.TemporaryDirectory(prefix="run-") as runroot:
        yield ["--root", str(tmp_path / "storage"), "--runroot", runroot, "--storage-driver", "vfs"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an ordinary user's mounts are seen inside `unshare` only")
@pytest.mark.parametrize("name", ["buildah", "podman"])
def test_buildah_and_podman(name: str, image: Path, storage: list[str]) -> None:
    tool = [have(name), *storage]
    run(*tool, "pull", "-q", f"oci:{image}:test")
    reference = run(*tool, "images", "-q").split()[0]
    if name == "buildah":
        container = run(*tool, "from", "--pull-never", reference).strip()
        mounted = run(*tool, "mount", container).strip()
    else:
        mounted = run(*tool, "image", "mount", reference).strip()
    check_tree(Path(mounted))
    if name == "buildah":
        run(*tool, "umount", container)
    else:
        run(*tool, "image", "umount", reference)


def test_gzip_and_zstd_inflate_it(image: Path, tmp_path: Path) -> None:
    index = json.loads((image / "index.json").read_text())
    manifest = json.loads((image / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    config = json.loads((image / "blobs/sha256" / manifest["config"]["digest"][7:]).read_text())
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        blob = image / "blobs/sha256" / layer["digest"][7:]
        form = layer["mediaType"].rpartition("+")[2]
        if form in ("gzip", "zstd"):
            done = subprocess.run([have(form), "-dc"], stdin=blob.open("rb"), capture_output=True, check=True)
            assert "sha256:" + hashlib.sha256(done.stdout).hexdigest() == diff_id
        else:
            assert layer["digest"] == diff_id
