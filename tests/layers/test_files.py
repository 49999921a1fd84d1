"""Files of the project, large ones above all, and the runtime layer."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import golden_layers
import pytest
from small_wheels import EPOCH, packed

from builder.codec import codec_for
from builder.errors import BackendError, LayerError
from builder.layers.pack import pack
from builder.plan import (
    CODECS,
    Codec,
    Compression,
    Deb,
    DebianLayer,
    Entry,
    FilesLayer,
    Generated,
    Interpreter,
    RuntimeLayer,
    to_plain,
)

HELLO = hashlib.sha256(b"hello").hexdigest()


def read(blob: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            found[member.name] = (member, file.read() if file else b"")
    return found


def hello(folder: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Path]]:
    (folder / "hello").write_bytes(b"hello")
    entry = Entry(**{"path": "hello", "size": 5, "sha256": HELLO} | changes)
    layer = FilesLayer(role="code", root="/src", entries=(entry,), epoch=EPOCH)
    return to_plain(layer), {HELLO: folder / "hello"}


def test_the_plan_s_own_layer_is_packed(tmp_path: Path) -> None:
    found = read(packed(*hello(tmp_path, mode=0o755))[1])
    assert {path: (m.type, m.mode, m.mtime, data) for path, (m, data) in found.items()} == {
        "src": (tarfile.DIRTYPE, 0o755, EPOCH, b""),
        "src/hello": (tarfile.REGTYPE, 0o755, EPOCH, b"hello"),
    }


def test_an_empty_project_is_a_directory(tmp_path: Path) -> None:
    layer = FilesLayer(role="code", root="/src", entries=(), epoch=EPOCH)
    assert list(read(packed(to_plain(layer), {})[1])) == ["src"]


def test_generated_files_are_below_the_root_unless_absolute() -> None:
    generated = (Generated(path=".cog/x", text="é"), Generated(path="/etc/y", text="", mode=0o600))
    layer = FilesLayer(role="code", root="/src", entries=(), generated=generated, epoch=EPOCH)
    found = read(packed(to_plain(layer), {})[1])
    assert found["src/.cog/x"][1] == "é".encode()
    assert found["etc/y"][0].mode == 0o600


def test_a_file_that_changed_meanwhile(tmp_path: Path) -> None:
    for content in (b"hallo", b"hell", b"hello!", b""):
        spec, inputs = hello(tmp_path)
        (tmp_path / "hello").write_bytes(content)
        with pytest.raises(LayerError, match=r"src/hello.* is not the file|shorter than it should be"):
            packed(spec, inputs)
    (tmp_path / "hello").unlink()
    with pytest.raises(LayerError, match="could not read"):
        packed(spec, inputs)
    with pytest.raises(LayerError, match="was not given `hello`"):
        packed(spec, {})


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../b", ".wh.b", "a/.wh..wh..opq", "a//b", "a\udcffb"])
def test_paths_that_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(LayerError):
        packed(*hello(tmp_path, path=path))
    layer = FilesLayer(role="code", root="/src", entries=(), generated=(Generated(path=f"x/{path}", text=""),), epoch=0)
    with pytest.raises(LayerError):
        packed(to_plain(layer), {})


def test_kinds_that_the_packer_does_not_make(tmp_path: Path) -> None:
    spec, inputs = hello(tmp_path)
    with pytest.raises(LayerError, match="no layers of kind `base`"):
        packed(spec | {"kind": "base"}, inputs)
    with pytest.raises(LayerError, match="no layer compression `xz`"):
        pack(spec, inputs=inputs, out=io.BytesIO(), codec=None, compression="xz")  # type: ignore[arg-type]
    with pytest.raises(LayerError, match="is a socket"):
        spec["entries"][0]["type"] = "socket"
        packed(spec, inputs)


def test_the_skeleton_is_a_virtual_environment(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    version = ".".join(map(str, sys.version_info[:3]))
    venv, root = tmp_path / "out/opt/venv", tmp_path / "out/opt/cogsmith"
    layer = RuntimeLayer(
        root=str(root),
        venv=str(venv),
        interpreter=Interpreter(path=str(python), version=version),
        version="0.1.0",
        files=(Entry(path="cog/__init__.py", size=5, sha256=HELLO),),
        generated=(),
        wheels=(),
        epoch=EPOCH,
    )
    (tmp_path / "hello").write_bytes(b"x = 1")
    spec = to_plain(layer)
    spec["files"][0]["sha256"] = sha256 = hashlib.sha256(b"x = 1").hexdigest()
    _, blob = packed(spec, {sha256: tmp_path / "hello"})
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        for member in tar:
            member.name = (
                str(Path("/", member.name).relative_to(tmp_path)) if member.name.startswith(str(tmp_path)[1:]) else "."
            )
            if member.name != ".":
                tar.extract(member, tmp_path, filter="fully_trusted")
    code = "import cog, json, sys; print(json.dumps([cog.x, sys.prefix, sys.base_prefix, sys.executable]))"
    env = {"PATH": f"{venv}/bin:/usr/bin:/bin"}
    done = subprocess.run([venv / "bin/python", "-c", code], env=env, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    x, prefix, base, executable = json.loads(done.stdout)
    assert (x, prefix, executable) == (1, str(venv), f"{venv}/bin/python")
    assert base == str(Path(sys.base_prefix).resolve())
    minor = ".".join(version.split(".")[:2])
    assert {path.name for path in (venv / "bin").iterdir()} == {"python", "python3", f"python{minor}"}
    assert (venv / "lib64").readlink() == Path("lib")
    config = (venv / "pyvenv.cfg").read_text()
    assert f"home = {python.parent}\ninclude-system-site-packages = true\nversion = {version}\n" in config


def test_server_wheels_are_flat_and_without_scripts(tmp_path: Path) -> None:
    spec, inputs = golden_layers.runtime(tmp_path)
    found = read(packed(spec, inputs)[1])
    server = {path.removeprefix("opt/cogsmith/server/") for path in found if path.startswith("opt/cogsmith/server/")}
    assert "golden/__init__.py" in server
    assert not [path for path in found if "golden-run" in path or path.endswith((".h", "golden.txt"))]
    record = found["opt/cogsmith/server/golden-1.0.dist-info/RECORD"][1].decode()
    assert "bin/golden" not in record
    assert "golden/large.py,sha256=" in record


@pytest.mark.parametrize("compression", ["gzip", "plain", "zstd"])
def test_a_large_file_takes_little_memory(compression: Compression, tmp_path: Path) -> None:
    """300 MB; a 2 GB file takes the same, but time."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    with large.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    layer = FilesLayer(
        role="weights", root="/src", entries=(Entry(path="large", size=300 << 20, sha256=sha256),), epoch=EPOCH
    )
    program = f"""
import pathlib
from builder.codec import codec_for
from builder.plan import CODECS
from builder.layers.pack import pack
from builder.plan import Codec
codec = codec_for(CODECS[{compression!r}], {compression!r})
with open("/dev/null", "wb") as out:
    pack({to_plain(layer)!r}, inputs={{{sha256!r}: pathlib.Path({str(large)!r})}}, out=out, codec=codec,
         compression={compression!r}, threads=2)
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss remembers the process before exec
print(status.split("VmHWM:")[1].split()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert int(done.stdout) < 100 * 1024, "KiB"


def test_only_the_plan_s_codec_will_do() -> None:
    with pytest.raises(BackendError, match=r"`deflate` 0\.1\.0, but .* is installed"):
        codec_for(Codec(version="0.1.0"), "gzip")
    with pytest.raises(BackendError, match="does not make gzip"):
        codec_for(CODECS["zstd"], "gzip")
    with pytest.raises(BackendError, match="does not make zstd"):
        codec_for(Codec(), "zstd")
    assert codec_for(Codec(version="0.1.0"), "plain")


def test_a_debian_layer_goes_to_its_own_modules(tmp_path: Path) -> None:
    deb = Deb(package="x", version="1", architecture="amd64", filename="pool/x.deb", size=1, sha256=HELLO)
    layer = DebianLayer(suite="bookworm", architecture="amd64", debs=(deb,), epoch=EPOCH)
    (tmp_path / "hello").write_bytes(b"hello")
    with pytest.raises(LayerError):
        packed(to_plain(layer), {HELLO: tmp_path / "hello"})
    assert os.listdir(tmp_path) == ["hello"]
