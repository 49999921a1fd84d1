"""Wheels: where their parts go, with which modes and times, and what RECORD says afterwards."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from small_wheels import EPOCH, Part, honest_parts, packed, wheels_spec, write_wheel, write_zip
from trees import installed_tree, layer_tree, uv

from builder.errors import LayerError

SITE = "opt/venv/lib/python3.11/site-packages"
FILES = {
    "demo/__init__.py": b"def main():\n    return 3\n" * 100,
    "demo/tool.sh": b"#!/bin/sh\n",
    "demo/empty.py": b"",
    "demo/data.bin": bytes(range(256)) * 1000,
    'demo/ünïcode, "quoted".txt': b"x",
    "demo-1.0.data/purelib/pure.py": b"pure = 1\n",
    "demo-1.0.data/platlib/plat.py": b"plat = 1\n",
    "demo-1.0.data/scripts/run-python": b"#!python\nprint('run')\n",
    "demo-1.0.data/scripts/run-pythonw": b"#!pythonw -x\nprint('gui')\n",
    "demo-1.0.data/scripts/run-sh": b"#!/bin/sh\necho sh\n",
    "demo-1.0.data/scripts/demo-command": b"#!python\nshadowed\n",
    "demo-1.0.data/headers/demo.h": b"#define DEMO\n",
    "demo-1.0.data/data/share/demo/notes.txt": b"notes\n",
    "demo-1.0.data/data/etc/demo.conf": b"[demo]\n",
}
ENTRY_POINTS = """
[console_scripts]
demo-command = demo:main
Demo_Two = demo.sub:klass.main [extra]

[gui_scripts]
demo-gui = demo:main

[demo.plugins]
anything = goes here
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return write_wheel(
        tmp_path,
        FILES,
        entry_points=ENTRY_POINTS,
        missing=["demo/empty.py"],
        modes={"demo/tool.sh": 0o744, "demo/data.bin": 0o600, "demo/__init__.py": 0o664},
        stored=["demo/data.bin"],
    )


def read(blob: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            found[member.name] = (member, file.read() if file else b"")
    return found


def test_where_everything_goes(wheel: Path) -> None:
    _, blob = packed(*wheels_spec(wheel))
    found = {path: data for path, (member, data) in read(blob).items() if member.isfile()}
    for place, source in {
        f"{SITE}/demo/__init__.py": "demo/__init__.py",
        f"{SITE}/demo/data.bin": "demo/data.bin",
        f'{SITE}/demo/ünïcode, "quoted".txt': 'demo/ünïcode, "quoted".txt',
        f"{SITE}/pure.py": "demo-1.0.data/purelib/pure.py",
        f"{SITE}/plat.py": "demo-1.0.data/platlib/plat.py",
        "opt/venv/include/site/python3.11/demo/demo.h": "demo-1.0.data/headers/demo.h",
        "opt/venv/share/demo/notes.txt": "demo-1.0.data/data/share/demo/notes.txt",
        "opt/venv/bin/run-sh": "demo-1.0.data/scripts/run-sh",
    }.items():
        assert found[place] == FILES[source], place
    assert found["opt/venv/bin/run-python"] == b"#!/opt/venv/bin/python\nprint('run')\n"
    assert found["opt/venv/bin/run-pythonw"] == b"#!/opt/venv/bin/python\nprint('gui')\n"
    assert found[f"{SITE}/demo-1.0.dist-info/INSTALLER"] == b"cogsmith\n"
    assert not [path for path in found if ".data/" in path or path.endswith(("REQUESTED", "direct_url.json"))]


def test_launchers(wheel: Path) -> None:
    _, blob = packed(*wheels_spec(wheel))
    found = read(blob)
    assert {path for path in found if path.startswith("opt/venv/bin/")} == {
        f"opt/venv/bin/{name}"
        for name in ("Demo_Two", "demo-command", "demo-gui", "run-python", "run-pythonw", "run-sh")
    }
    member, text = found["opt/venv/bin/Demo_Two"]
    assert member.mode == 0o755
    assert text.startswith(b"#!/opt/venv/bin/python\n")
    assert b"from demo.sub import klass\n" in text
    assert b"sys.exit(klass.main())\n" in text
    assert b"shadowed" not in found["opt/venv/bin/demo-command"][1]


def test_launchers_run(tmp_path: Path) -> None:
    wheel = write_wheel(
        tmp_path,
        {"demo.py": b"class k:\n  f = staticmethod(lambda: 7)\n"},
        entry_points="[console_scripts]\ngo = demo:k.f\n",
    )
    spec, inputs = wheels_spec(wheel)
    prefix = tmp_path / "a place"  # a space: by way of `sh`
    spec["prefix"] = str(prefix)
    _, blob = packed(spec, inputs)
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        tar.extractall(tmp_path / "out", filter="tar")
    shutil.copytree(tmp_path / "out" / str(prefix).lstrip("/"), prefix)
    (prefix / "bin/python").symlink_to(sys.executable)
    env = {"PYTHONPATH": str(prefix / "lib/python3.11/site-packages"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([prefix / "bin/go"], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (7, b"")


def test_modes_and_times(wheel: Path) -> None:
    _, blob = packed(*wheels_spec(wheel))
    found = read(blob)
    modes = {path.removeprefix(f"{SITE}/demo/"): member.mode for path, (member, _) in found.items() if "/demo/" in path}
    assert modes["tool.sh"] == 0o755
    assert modes["data.bin"] == modes["__init__.py"] == 0o644
    assert found["opt/venv/bin/run-sh"][0].mode == 0o755, "scripts are executable whatever the zip says"
    assert found[f"{SITE}/demo/tool.sh"][0].mtime == 1709212456, "the zip's time, read as UTC"
    assert found[f"{SITE}/demo-1.0.dist-info/RECORD"][0].mtime == EPOCH
    assert {(m.uid, m.gid, m.uname, m.gname) for m, _ in found.values()} == {(0, 0, "", "")}


def test_no_time_is_later_than_the_epoch(tmp_path: Path) -> None:
    _, blob = packed(*wheels_spec(write_wheel(tmp_path, {"demo.py": b""}, date=(2107, 12, 31, 23, 59, 58))))
    assert {member.mtime for member, _ in read(blob).values()} == {EPOCH}


def test_record_lists_what_is_installed(wheel: Path) -> None:
    _, blob = packed(*wheels_spec(wheel))
    found = read(blob)
    rows = list(csv.reader(io.StringIO(found[f"{SITE}/demo-1.0.dist-info/RECORD"][1].decode(), newline="")))
    by_path = {path: (digest, size) for path, digest, size in rows}
    assert len(by_path) == len(rows)
    files = {path for path, (member, _) in found.items() if member.isfile()}
    places = {str(Path("/", SITE, path).resolve(strict=False)).lstrip("/"): path for path in by_path}
    assert set(places) == files
    assert "../../../bin/demo-command" in by_path
    assert by_path["demo-1.0.dist-info/RECORD"] == ("", "")
    assert by_path["demo/empty.py"] == ("", ""), "was not in RECORD before: as pip has it"
    for place, path in places.items():
        digest, size = by_path[path]
        if digest:
            raw = base64.urlsafe_b64encode(hashlib.sha256(found[place][1]).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={raw}", str(len(found[place][1]))), path


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_same_tree_as_installers(tool: str, tmp_path: Path) -> None:
    # Left out is where both keep a stale row in RECORD: a script that a launcher replaces.
    files = {path: data for path, data in FILES.items() if not path.endswith("/demo-command")}
    wheel = write_wheel(
        tmp_path,
        files,
        entry_points=ENTRY_POINTS,
        missing=["demo/empty.py"] if tool == "pip" else [],  # uv gives it a size, pip does not
        modes={"demo/tool.sh": 0o744} | {path: 0o755 for path in files if "/scripts/" in path},
        stored=["demo/data.bin"],
    )
    _, blob = packed(*wheels_spec(wheel))
    assert layer_tree(blob) == installed_tree(tool, [wheel], folder=tmp_path / "venv")


@pytest.mark.parametrize("old", [True, False])
def test_pip_is_named_after_the_python_of_the_image(old: bool, tmp_path: Path) -> None:
    commands = "pip = demo:one\npip3 = demo:three\n" + ("pip3.10 = demo:old\nother3.10 = demo:other\n" if old else "")
    wheel = write_wheel(tmp_path, {"demo.py": b"x = 1\n"}, entry_points=f"[console_scripts]\n{commands}")
    _, blob = packed(*wheels_spec(wheel))
    ours = layer_tree(blob)
    found = {path for path in ours if path.startswith("bin/")}
    assert found == {"bin/pip", "bin/pip3", "bin/pip3.11", *(["bin/other3.10"] if old else [])}
    assert ours == installed_tree("uv", [wheel], folder=tmp_path / "venv")


def test_two_wheels_with_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    last = write_wheel(tmp_path / "b", {"shared.py": b"b"}, name="beta")
    one = write_wheel(tmp_path / "a", {"shared.py": b"a"}, name="alpha")
    spec, inputs = wheels_spec(last, one, names=["beta", "alpha"])
    first, blob = packed(spec, inputs)
    assert read(blob)[f"{SITE}/shared.py"][1] == b"b", "the name that sorts last"
    spec["wheels"].reverse()
    assert packed(spec, inputs)[0] == first


def test_two_wheels_that_cannot_both_be(tmp_path: Path) -> None:
    one = write_wheel(tmp_path, {"shared": b"a file"}, name="alpha")
    other = write_wheel(tmp_path, {"shared/x.py": b""}, name="beta")
    with pytest.raises(LayerError, match="is a file and a directory"):
        packed(*wheels_spec(one, other, names=["alpha", "beta"]))


def test_a_part_that_overwrites_another_of_its_wheel(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo.py": b"1", "demo-1.0.data/purelib/demo.py": b"2"})
    with pytest.raises(LayerError, match="twice"):
        packed(*wheels_spec(wheel))


def test_lib64_is_lib(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo.py": b"", "demo-1.0.data/data/lib64/libdemo.so": b"so"})
    assert "opt/venv/lib/libdemo.so" in read(packed(*wheels_spec(wheel))[1])


def test_explicit_directories_and_unusual_names_are_fine(tmp_path: Path) -> None:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    parts = [
        *honest_parts(),
        Part(name=b"demo/"),
        Part(name=b"./demo/dot.py", data=b"dot"),
        Part(name="demo/é.py".encode(), data=b"", flags=0x800),
    ]
    wheel.write_bytes(write_zip(parts))
    found = read(packed(*wheels_spec(wheel))[1])
    assert found[f"{SITE}/demo/dot.py"][1] == b"dot"
    assert f"{SITE}/demo/é.py" in found


def test_deflate_bytes_are_spliced_not_made(wheel: Path) -> None:
    parts = honest_parts({"demo/__init__.py": bytes(range(256)) * 20})
    wheel.write_bytes(write_zip(parts))
    _, blob = packed(*wheels_spec(wheel))
    assert parts[0].body in blob
    wheel.write_bytes(write_zip(honest_parts({"demo/__init__.py": bytes(range(256)) * 4})))  # 1024 bytes
    assert bytes(range(256)) * 4 in packed(*wheels_spec(wheel))[1], "small: stored"


def test_uv_is_there() -> None:
    assert uv().exists()
