"""Base images by reference: which Python and which C library their layers hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from small_images import add_image, add_layer, tar_of, two_layers
from small_registry import Server

from builder.errors import CogsmithError, ResolveError, StoreError
from builder.layout import export_image
from builder.lock import ImageBase
from builder.oci import PackedLayer
from builder.plan import Interpreter
from builder.report import Quiet
from builder.resolve.base import fetch_base_layers, resolve_image_base
from builder.store import Store, StoredImage

LIBC = b"\x7fELF...GNU C Library (Debian GLIBC 2.36-9+deb12u4) stable release version 2.36.\nCopyright"
STATUS = """Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u4
Description: GNU C Library
 with more: lines

Package: python3.11-minimal
Status: install ok installed
Version: 3.11.2-6+deb12u5

Package: python3.9-minimal
Status: deinstall ok config-files
Version: 3.9.1-1
"""
DEBIAN: dict[str, bytes | None] = {
    "var/lib/dpkg/status": STATUS.encode(),
    "usr/lib/x86_64-linux-gnu/libc.so.6": LIBC,
    "usr/bin/python3.11": b"\x7fELF\x00no version here\x00",
}
PATCHLEVEL = b'#define PY_MAJOR_VERSION 3\n#define PY_VERSION      "3.13.5"\n'
LOCAL: dict[str, bytes | None] = {
    "usr/local/bin/python3.13": b"\x7fELF",
    "usr/local/include/python3.13/patchlevel.h": PATCHLEVEL,
    "usr/local/lib/libpython3.13.so.1.0": b"\x7fELF",
}
OFFICIAL_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def image_of(
    store: Store,
    *files: dict[str, bytes | None],
    links: dict[str, str] | None = None,
    env: tuple[tuple[str, str], ...] = (("PATH", OFFICIAL_PATH),),
    name: str = "base",
) -> StoredImage:
    compressions = ["gzip", "zstd", "plain"]
    layers = [
        add_layer(store, tar_of(each, links=links if number == 0 else None), compression=compressions[number % 3])
        for number, each in enumerate(files)
    ]
    return add_image(store, name, layers, env=env)


def resolve(source: Store, store: Store, tmp_path: Path, *, python: str | None = None) -> tuple[ImageBase, Interpreter]:
    """Through a layout on disk."""
    path = tmp_path / "layout"
    image = source.image("base")
    assert image is not None
    export_image(source, image=image, path=path, form="oci-dir", report=Quiet())
    return resolve_image_base(
        "oci:layout:base",
        project=tmp_path,
        python_version=python,
        platform="linux/amd64",
        store=store,
        env={},
        report=Quiet(),
    )


def test_debian(source: Store, store: Store, tmp_path: Path) -> None:
    image = image_of(source, DEBIAN, {"etc": None})
    base, interpreter = resolve(source, store, tmp_path, python="3.11")
    assert interpreter == Interpreter(path="/usr/bin/python3.11", version="3.11.2")
    assert base.glibc == "2.36"
    assert base.digest == image.digest
    assert (base.media_type, base.size) == (image.descriptor.media_type, image.descriptor.size)
    assert [(each.digest, each.diff_id) for each in base.layers] == [(e.digest, e.diff_id) for e in image.layers]
    assert base.env == (("PATH", OFFICIAL_PATH),)
    assert base.cmd == ("/bin/sh",)
    assert base.working_dir == "/"
    assert base.labels == (("made.by", "a test"),)
    assert store.images() == [], "a base is no image of the user's"


def test_official_python_comes_first(source: Store, store: Store, tmp_path: Path) -> None:
    image_of(source, DEBIAN, LOCAL)
    _, interpreter = resolve(source, store, tmp_path)
    assert interpreter == Interpreter(path="/usr/local/bin/python3.13", version="3.13.5")
    _, interpreter = resolve(source, store, tmp_path, python="3.11")
    assert interpreter.path == "/usr/bin/python3.11"


@pytest.mark.parametrize(
    ("files", "env", "version"),
    [
        ({"usr/local/include/python3.12/patchlevel.h": b'#define PY_VERSION "3.12.1+"'}, (), "3.12.1"),
        ({"usr/local/lib/libpython3.12.so.1.0": b"\x003.12.3\x00"}, (), "3.12.3"),
        ({}, (("PYTHON_VERSION", "3.12.4"),), "3.12.4"),
        ({"usr/local/bin/python3.12": b"ELF\x003.12.5\x00\x002.3.4\x00"}, (), "3.12.5"),
        ({"usr/local/bin/python3.12": b"ELF\x003.12.0rc3+\x00"}, (), "3.12.0rc3"),
    ],
)
def test_sources_of_the_version(
    source: Store,
    store: Store,
    tmp_path: Path,
    files: dict[str, bytes | None],
    env: tuple[tuple[str, str], ...],
    version: str,
) -> None:
    image_of(source, {"lib64/libc.so.6": LIBC, "usr/local/bin/python3.12": b"ELF"}, files, env=env)
    _, interpreter = resolve(source, store, tmp_path)
    assert interpreter == Interpreter(path="/usr/local/bin/python3.12", version=version)


def test_glibc_through_a_link_and_by_dpkg(source: Store, store: Store, tmp_path: Path) -> None:
    files = {
        "lib/x86_64-linux-gnu/libc-2.31.so": LIBC.replace(b"2.36", b"2.31"),
        "opt/own/bin/python3.10": b"\x003.10.9\0",
    }
    image_of(source, files, links={"lib/x86_64-linux-gnu/libc.so.6": "libc-2.31.so"})
    base, interpreter = resolve(source, store, tmp_path)
    assert base.glibc == "2.31"
    assert interpreter == Interpreter(path="/opt/own/bin/python3.10", version="3.10.9")
    image_of(source, {"var/lib/dpkg/status": STATUS.encode(), "usr/bin/python3.11": b""})
    assert resolve(source, store, tmp_path)[0].glibc == "2.36"


def test_distroless_status(source: Store, store: Store, tmp_path: Path) -> None:
    files: dict[str, bytes | None] = {
        "var/lib/dpkg/status.d/libc6": b"Package: libc6\nVersion: 2.41-12\n",
        "var/lib/dpkg/status.d/python3.13-minimal": b"Package: python3.13-minimal\nVersion: 3.13.5-2\n",
        "usr/bin/python3.13": b"ELF",
    }
    image_of(source, files)
    base, interpreter = resolve(source, store, tmp_path)
    assert (base.glibc, interpreter.version) == ("2.41", "3.13.5")


@pytest.mark.parametrize(
    "upper",
    [
        {"usr/local/bin/.wh.python3.13": b""},
        {"usr/local/.wh.bin": b""},
        {"usr/.wh.local": b""},
        {"usr/local/bin/.wh..wh..opq": b""},
        {"usr/local": b"now a file"},
    ],
)
def test_whiteouts(source: Store, store: Store, tmp_path: Path, upper: dict[str, bytes | None]) -> None:
    image_of(source, DEBIAN, LOCAL, upper)
    _, interpreter = resolve(source, store, tmp_path)
    assert interpreter.path == "/usr/bin/python3.11"
    with pytest.raises(ResolveError, match=r"has no Python 3\.13"):
        resolve(source, store, tmp_path, python="3.13")


def test_whiteouts_spare_their_own_layer(source: Store, store: Store, tmp_path: Path) -> None:
    renewed = {"usr/local/bin/python3.13": b"new", "usr/local/.wh..wh..opq": b"", **LOCAL}
    image_of(source, DEBIAN, LOCAL, renewed)
    assert resolve(source, store, tmp_path)[1].path == "/usr/local/bin/python3.13"


def test_virtual_environments_are_no_interpreters(source: Store, store: Store, tmp_path: Path) -> None:
    venv: dict[str, bytes | None] = {"opt/venv/pyvenv.cfg": b"home", "opt/venv/bin/python3.11": b"\x003.11.2\0"}
    image_of(
        source, DEBIAN | venv, links={"srv/bin/python3.11": "/usr/bin/python3.11"}, env=(("PATH", "/opt/venv/bin"),)
    )
    assert resolve(source, store, tmp_path)[1].path == "/usr/bin/python3.11"


def test_no_such_python(source: Store, store: Store, tmp_path: Path) -> None:
    image_of(source, DEBIAN, LOCAL)
    with pytest.raises(ResolveError, match=r"`oci:layout:base` has no Python 3\.12") as caught:
        resolve(source, store, tmp_path, python="3.12")
    assert "3.11.2 (`/usr/bin/python3.11`)" in str(caught.value)
    assert "python_version" in str(caught.value.hint)


def test_no_python(source: Store, store: Store, tmp_path: Path) -> None:
    image_of(source, {"lib/libc.so.6": LIBC})
    with pytest.raises(ResolveError, match="has no Python") as caught:
        resolve(source, store, tmp_path)
    assert "-slim" in str(caught.value.hint)


def test_musl(source: Store, store: Store, tmp_path: Path) -> None:
    image_of(source, {"lib/ld-musl-x86_64.so.1": b"ELF", **LOCAL})
    with pytest.raises(ResolveError, match="musl") as caught:
        resolve(source, store, tmp_path)
    assert "-slim" in str(caught.value.hint)


def test_layers_are_read_once(source: Store, store: Store, tmp_path: Path) -> None:
    image = image_of(source, DEBIAN)
    first = resolve(source, store, tmp_path)
    layer = store.blob_path(image.layers[0].digest)
    stat = layer.stat()
    layer.write_bytes(b"?" * stat.st_size)  # whoever reads it again would notice
    assert resolve(source, store, tmp_path) == first


def test_lying_layer(source: Store, store: Store, tmp_path: Path) -> None:
    good = add_layer(source, tar_of(DEBIAN))
    lie = PackedLayer(digest=good.digest, diff_id="sha256:" + "1" * 64, size=good.size, media_type=good.media_type)
    add_image(source, "base", [lie])
    with pytest.raises(CogsmithError, match="not what the image's configuration says"):
        resolve(source, store, tmp_path)


def test_archive_and_missing_path(source: Store, store: Store, tmp_path: Path) -> None:
    image = image_of(source, DEBIAN)
    export_image(source, image=image, path=tmp_path / "base.tar", form="docker-archive", report=Quiet())
    for reference in ("oci-archive:base.tar", "docker-archive:base.tar:base:latest"):
        base, _ = resolve_image_base(
            reference,
            project=tmp_path,
            python_version="3.11",
            platform="linux/amd64",
            store=store,
            env={},
            report=Quiet(),
        )
        assert base.digest == image.digest
    with pytest.raises(StoreError, match="no file or folder"):
        resolve_image_base(
            "oci:absent",
            project=tmp_path,
            python_version=None,
            platform="linux/amd64",
            store=store,
            env={},
            report=Quiet(),
        )


def test_wrong_platform(source: Store, store: Store, tmp_path: Path) -> None:
    add_image(source, "base", two_layers(source), platform="linux/arm64")
    with pytest.raises(ResolveError, match="is for `linux/arm64`"):
        resolve(source, store, tmp_path)


def test_from_a_registry(
    private: Server, source: Store, store: Store, tmp_path: Path, home: Path, log_in: Callable[[str], None]
) -> None:
    image = image_of(source, DEBIAN, LOCAL, {"etc": None})
    private.push(source, "base:latest", "bases/python:3.13", "--preserve-digests")
    log_in(private.host)
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    reference = f"{private.host}/bases/python:3.13"

    def once(wanted: str) -> tuple[ImageBase, Interpreter]:
        return resolve_image_base(
            wanted,
            project=tmp_path,
            python_version="3.13",
            platform="linux/amd64",
            store=store,
            env=env,
            report=Quiet(),
        )

    base, interpreter = once(reference)
    assert (base.reference, base.digest) == (reference, image.digest)
    assert interpreter.version == "3.13.5"
    layer = image.layers[1]
    store.blob_path(layer.digest).unlink()
    assert once(f"{private.host}/bases/python@{image.digest}")[1] == interpreter
    assert not store.has_blob(layer.digest), "what is remembered needs no layers"
    fetch_base_layers(reference, layers=image.layers, project=tmp_path, store=store, env=env, report=Quiet())
    assert store.has_blob(layer.digest)


def test_base_that_was_replaced(source: Store, store: Store, tmp_path: Path) -> None:
    image = image_of(source, DEBIAN)
    base, _ = resolve(source, store, tmp_path)
    other = image_of(source, DEBIAN | LOCAL, name="other")
    shutil.rmtree(tmp_path / "layout")
    export_image(source, image=other, path=tmp_path / "layout", form="oci-dir", report=Quiet())
    store.blob_path(image.layers[0].digest).unlink()
    with pytest.raises(StoreError, match="no longer the image that was locked") as caught:
        fetch_base_layers("oci:layout", layers=image.layers, project=tmp_path, store=store, env={}, report=Quiet())
    assert base.layers[0].digest in str(caught.value)


def test_the_host_itself(source: Store, store: Store, tmp_path: Path) -> None:
    """Real files: this machine's own C library and interpreter, where they are as Debian has them."""
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6")
    python = Path("/usr/bin/python3")
    if not libc.is_file() or not python.is_file():
        pytest.skip("this machine has no glibc or Python where Debian has them")
    real = python.resolve()
    image_of(
        source, {"usr/lib/x86_64-linux-gnu/libc.so.6": libc.read_bytes(), f"opt/own/bin/{real.name}": real.read_bytes()}
    )
    base, interpreter = resolve(source, store, tmp_path)
    code = "import json, platform; print(json.dumps([platform.python_version(), platform.libc_ver()[1]]))"
    version, glibc = json.loads(subprocess.run([python, "-c", code], capture_output=True, check=True).stdout)
    assert interpreter == Interpreter(path=f"/opt/own/bin/{real.name}", version=version)
    assert base.glibc == glibc
