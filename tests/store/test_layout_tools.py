"""What others make of our layouts and archives, and we of theirs: skopeo, buildah, podman, umoci."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_layout import Make, export

from builder.layout import FORMS, Form, import_image
from builder.report import Quiet
from builder.store import Store

Tool = Callable[[str], str]


def run(*argv: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.tool
@pytest.mark.parametrize("form", FORMS)
def test_skopeo_reads_every_form(store: Store, tmp_path: Path, make_image: Make, tool: Tool, form: Form) -> None:
    skopeo = tool("skopeo")
    image = make_image(store, "hello:v1")
    path = export(store, image, tmp_path / "out", form)
    where = f"{form.removesuffix('-dir')}:{path}:hello:v1"
    inspected = json.loads(run(skopeo, "inspect", "--config", where))
    assert inspected["rootfs"]["diff_ids"] == [layer.diff_id for layer in image.layers]
    # copying makes skopeo read and verify every layer; otherwise it would compress the plain one
    preserve = [] if form == "docker-archive" else ["--preserve-digests"]
    run(skopeo, "copy", "--insecure-policy", *preserve, where, f"oci:{tmp_path / 'copy'}:copied")
    with Store.open(tmp_path / "other") as other:
        again = import_image(other, path=tmp_path / "copy", report=Quiet())
        assert again.name == "copied:latest"
        assert [layer.diff_id for layer in again.layers] == [layer.diff_id for layer in image.layers]
        if form != "docker-archive":
            assert again.digest == image.digest


@pytest.mark.tool
def test_skopeo_reads_the_store_itself(store: Store, make_image: Make, tool: Tool) -> None:
    image = make_image(store, "some.registry/group/hello:v1")
    make_image(store, "other")
    inspected = json.loads(run(tool("skopeo"), "inspect", f"oci:{store.root}:some.registry/group/hello:v1"))
    assert inspected["Digest"] == image.digest
    run(tool("skopeo"), "inspect", f"oci:{store.root}:other:latest")


@pytest.mark.tool
def test_skopeo_archives_are_imported(store: Store, tmp_path: Path, make_image: Make, tool: Tool) -> None:
    skopeo = tool("skopeo")
    image = make_image(store, "hello:v1")
    source = f"oci:{store.root}:hello:v1"
    run(skopeo, "copy", "--insecure-policy", source, f"docker-archive:{tmp_path / 'd.tar'}:team/renamed:v2")
    run(skopeo, "copy", "--insecure-policy", "--preserve-digests", source, f"oci-archive:{tmp_path / 'o.tar'}:hello:v3")
    with Store.open(tmp_path / "other") as other:
        docker = import_image(other, path=tmp_path / "d.tar", report=Quiet())
        assert docker.name == "team/renamed:v2"
        assert [layer.diff_id for layer in docker.layers] == [layer.diff_id for layer in image.layers]
        archive = import_image(other, path=tmp_path / "o.tar", report=Quiet())
        assert (archive.name, archive.digest) == ("hello:v3", image.digest)


@pytest.fixture
def storage() -> Iterator[list[str]]:
    """Options that keep buildah and podman in a folder of the test's own; podman wants its path to be short."""
    if os.geteuid() != 0:
        pytest.skip("containers-storage in a temporary folder is tested as root only")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="cs-") as folder:
        yield ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]


@pytest.mark.tool
@pytest.mark.parametrize("form", ["oci-dir", "oci-archive"])
def test_buildah_reads_oci(
    store: Store, tmp_path: Path, make_image: Make, tool: Tool, storage: list[str], form: Form
) -> None:
    buildah = tool("buildah")
    image = make_image(store, "hello:v1")
    path = export(store, image, tmp_path / "out", form)
    pulled = run(buildah, *storage, "pull", f"{form.removesuffix('-dir')}:{path}:hello:v1").split()[-1]
    found = json.loads(run(buildah, *storage, "inspect", "--type", "image", pulled))
    assert found["FromImageDigest"] == image.digest


@pytest.mark.tool
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_loads_archives(
    store: Store, tmp_path: Path, make_image: Make, tool: Tool, storage: list[str], form: Form
) -> None:
    podman = tool("podman")
    image = make_image(store, "hello:v1")
    path = export(store, image, tmp_path / "out.tar", form)
    assert "hello:v1" in run(podman, *storage, "load", "-i", path)
    found = json.loads(run(podman, *storage, "image", "inspect", "hello:v1"))[0]
    assert found["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
    assert found["Id"] == image.manifest["config"]["digest"].removeprefix("sha256:")


@pytest.mark.tool
def test_umoci_unpacks(store: Store, tmp_path: Path, make_image: Make, tool: Tool) -> None:
    umoci = tool("umoci")
    image = make_image(store, "hello")
    path = export(store, image, tmp_path / "out", "oci-dir")
    bundle = tmp_path / "bundle"
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    run(umoci, "unpack", *rootless, "--image", f"{path}:hello:latest", bundle)
    assert (bundle / "rootfs" / "src" / "predict.py").read_bytes() == b"print('hello')\n"
    assert (bundle / "rootfs" / "usr" / "big").stat().st_size == 10240
    shutil.rmtree(bundle)
