"""The interpreter layer: what an archive may hold, and what it becomes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from small_wheels import EPOCH, packed

from builder.errors import LayerError
from builder.plan import InterpreterLayer, to_plain

Made = tuple[dict[str, Any], dict[str, Path]]


def made(folder: Path, *entries: tuple[str, Any], data: bytes | None = None, version: str = "3.12.4") -> Made:
    """A layer of an archive with these entries: bytes for a file, `-> x` for a link, `=> x` for a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, what in entries:
            info = tarfile.TarInfo(name)
            info.uid, info.gid, info.uname, info.mtime = 1000, 1000, "builder", EPOCH + 5
            if isinstance(what, bytes):
                info.size, info.mode = len(what), 0o775 if "bin/" in name else 0o664
                tar.addfile(info, io.BytesIO(what))
                continue
            kind, _, target = what.partition(" ")
            info.type = {
                "->": tarfile.SYMTYPE,
                "=>": tarfile.LNKTYPE,
                "dir": tarfile.DIRTYPE,
                "fifo": tarfile.FIFOTYPE,
            }[kind]
            info.linkname, info.mode = target, 0o777
            tar.addfile(info)
    path = folder / "python.tar.gz"
    path.write_bytes(out.getvalue() if data is None else data)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    layer = InterpreterLayer(
        root=f"/opt/python/{version}",
        version=version,
        filename=path.name,
        size=path.stat().st_size,
        sha256=sha256,
        epoch=EPOCH,
    )
    return to_plain(layer), {sha256: path}


TREE: tuple[tuple[str, Any], ...] = (
    ("python", "dir"),
    ("python/bin", "dir"),
    ("python/bin/python3.12", b"\x7fELF"),
    ("python/bin/python3", "-> python3.12"),
    ("python/bin/again", "=> python/bin/python3.12"),
    ("python/lib", "dir"),
    ("python/lib/os.py", b"pass\n"),
    ("python/lib/__pycache__", "dir"),
    ("python/lib/__pycache__/os.cpython-312.pyc", b"x"),
    ("python/share", "dir"),
    ("python/share/lib", "-> ../lib"),
)


def test_it_may_lie_at_the_root_itself(tmp_path: Path) -> None:
    """Where it is unpacked to compile with."""
    layer, inputs = made(tmp_path, *TREE)
    _, blob = packed({**layer, "root": "/"}, inputs)
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        assert {"bin/python3.12", "lib/os.py"} <= set(tar.getnames())


def test_it_is_root_s_below_its_folder_and_holds_no_bytecode(tmp_path: Path) -> None:
    _, blob = packed(*made(tmp_path, *TREE))
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        members = {member.name: member for member in tar}
    top = "opt/python/3.12.4"
    assert sorted(members) == [
        "opt",
        "opt/python",
        top,
        *(f"{top}/{name}" for name in ("bin", "bin/again", "bin/python3", "bin/python3.12")),
        *(f"{top}/{name}" for name in ("lib", "lib/os.py", "share", "share/lib")),
    ]
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members.values()} == {(0, 0, "", EPOCH)}
    assert members[f"{top}/bin/again"].mode == 0o755
    assert members[f"{top}/lib/os.py"].mode == 0o644
    assert members[f"{top}/bin/python3"].linkname == "python3.12"
    assert members[f"{top}/bin/python3.12"].linkname == f"{top}/bin/again"


def test_folders_need_not_be_named(tmp_path: Path) -> None:
    whole = packed(*made(tmp_path, *TREE))
    assert packed(*made(tmp_path, *(entry for entry in TREE if entry[1] != "dir"))) == whole


def test_the_same_archive_gives_the_same_bytes(tmp_path: Path) -> None:
    one = packed(*made(tmp_path, *TREE))
    assert packed(*made(tmp_path, *TREE)) == one


PYTHON = ("python/bin/python3.12", b"\x7fELF")


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ([("other/x", b"")], "not one folder `python`"),
        ([("python", "dir")], "holds no Python 3.12.4"),
        ([("python/bin/python3.11", b"")], "holds no Python 3.12.4"),
        ([PYTHON, ("etc/passwd", b"")], "not one folder"),
        ([PYTHON, ("python/../../etc/x", b"")], "it holds `python/../../etc/x`"),
        ([PYTHON, ("/python/x", b"")], "it holds `/python/x`"),
        ([PYTHON, ("python/to", "-> ."), ("python/to/to/x", "-> ../x")], "leaves it"),
        ([PYTHON, ("python/x", "-> /etc/passwd")], "leaves it"),
        ([PYTHON, ("python/x", "-> ../../etc")], "leaves it"),
        ([PYTHON, ("python/a/b/x", "-> ../../../etc")], "leaves it"),
        ([PYTHON, ("python/x", "=> etc/passwd")], "no file, folder or link within it"),
        ([PYTHON, ("python/pipe", "fifo")], "no file, folder or link within it"),
    ],
)
def test_what_is_no_interpreter_is_refused(tmp_path: Path, entries: list[tuple[str, Any]], what: str) -> None:
    folders = [(name, "dir") for name in ("python", "python/bin", "python/a", "python/a/b", "etc", "other")]
    used = {"/".join(name.split("/")[:depth]) for name, _ in entries for depth in range(1, len(name.split("/")))}
    with pytest.raises(LayerError, match=what):
        packed(*made(tmp_path, *(item for item in folders if item[0] in used), *entries))


@pytest.mark.parametrize("cut", [0, 10, 200, -1])
def test_a_damaged_archive(tmp_path: Path, cut: int) -> None:
    whole = gzip.compress(os.urandom(4096))
    with pytest.raises(LayerError, match="damaged"):
        packed(*made(tmp_path, data=whole[:cut]))


def test_bytes_after_the_end(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="bytes follow its end"):
        packed(*made(tmp_path, data=gzip.compress(b"x") + b"more"))
