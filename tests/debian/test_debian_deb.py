from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import small_debs

from builder.errors import LayerError
from builder.layers.deb import Entry, parse_fields, read_control, read_data, verify

ENTRIES = [
    ("./usr/", "dir", ""),
    ("./usr/bin/", "dir", ""),
    ("./usr/bin/hello", "exec", "hi\n"),
    ("./usr/bin/again", "hardlink", "./usr/bin/hello"),
    ("./usr/bin/link", "symlink", "../bin/hello"),
    ("./usr/share/" + "long/" * 60 + "name", "file", "x" * 5000),
]


def data(path: Path) -> list[tuple[Entry, bytes]]:
    with tempfile.TemporaryFile() as spool:
        spool.write(b"what was there before")
        found = []
        for entry in list(read_data(path, spool=spool)):
            spool.seek(entry.offset)
            found.append((entry, spool.read(entry.size)))
        return found


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_every_compression(tmp_path: Path, suffix: str) -> None:
    path = small_debs.deb(tmp_path, "hello", ENTRIES, scripts={"postinst": "#!/bin/sh\n"}, suffix=suffix)
    control = read_control(path)
    assert control.package == "hello"
    assert control.files["postinst"].data == b"#!/bin/sh\n"
    assert control.files["postinst"].mode == 0o755
    found = data(path)
    assert [entry.path for entry, _ in found] == ["", *(name[2:].rstrip("/") for name, _, _ in ENTRIES)]
    assert [content for _, content in found if content] == [b"hi\n", b"x" * 5000]
    assert found[4][0].linkname == "usr/bin/hello"
    assert found[5][0].linkname == "../bin/hello"


def test_dpkg_makes_and_reads_the_same(tmp_path: Path, tool: Callable[[str], str]) -> None:
    dpkg_deb = tool("dpkg-deb")
    path = small_debs.deb(tmp_path, "hello", ENTRIES)
    subprocess.run([dpkg_deb, "--extract", path, tmp_path / "tree"], check=True)
    (tmp_path / "tree" / "DEBIAN").mkdir()
    control = subprocess.run([dpkg_deb, "--field", path], check=True, capture_output=True).stdout
    (tmp_path / "tree" / "DEBIAN" / "control").write_bytes(control)
    (tmp_path / "tree").chmod(0o755)
    for kind in ("xz", "gzip", "none"):
        again = tmp_path / f"{kind}.deb"
        subprocess.run(
            [dpkg_deb, "--root-owner-group", f"-Z{kind}", "--build", tmp_path / "tree", again],
            check=True,
            capture_output=True,
        )
        assert read_control(again).fields["Package"] == "hello"
        files = {entry.path: content for entry, content in data(again) if entry.type == "file"}
        assert files["usr/share/" + "long/" * 60 + "name"] == b"x" * 5000


def test_zstd_is_another_archive(tmp_path: Path) -> None:
    path = tmp_path / "u.deb"
    path.write_bytes(small_debs.ar([("debian-binary", b"2.0\n"), ("control.tar.zst", b""), ("data.tar.zst", b"")]))
    with pytest.raises(LayerError, match="compressed as `zst`"):
        read_control(path)


@pytest.mark.parametrize("name", ["../etc/passwd", "./usr/../../etc/passwd", "usr/../x"])
def test_names_that_lead_outside(tmp_path: Path, name: str) -> None:
    path = small_debs.deb(tmp_path, "evil", [(name, "file", "x")])
    with pytest.raises(LayerError, match="leads outside"):
        data(path)


def test_an_absolute_name_is_below_the_root(tmp_path: Path) -> None:
    assert data(small_debs.deb(tmp_path, "odd", [("/etc/x", "file", "y")]))[1][0].path == "etc/x"


def test_damage(tmp_path: Path) -> None:
    good = small_debs.deb(tmp_path, "hello", ENTRIES).read_bytes()
    path = tmp_path / "damaged.deb"
    for content in (good[: len(good) // 2], good[:-10], good.replace(b"`\n", b"xx", 3), b"!<arch>\n", b"", b"PK\3\4"):
        path.write_bytes(content)
        with pytest.raises(LayerError, match=r"damaged\.deb"):
            read_control(path)
            data(path)
    middle = bytearray(good)
    middle[len(good) - 200] ^= 0xFF
    path.write_bytes(middle)
    with pytest.raises(LayerError, match="is damaged"):
        data(path)


def test_another_file_under_this_name(tmp_path: Path) -> None:
    path = small_debs.deb(tmp_path, "hello", ENTRIES)
    with pytest.raises(LayerError, match="is not the package that was locked"):
        verify(path, sha256="0" * 64)


def test_fields() -> None:
    text = "Package: a\nDescription: short\n long\n .\n  more\nX-Y:\n 1\n"
    assert parse_fields(text) == {"Package": "a", "Description": "short\n long\n .\n  more", "X-Y": "\n 1"}
