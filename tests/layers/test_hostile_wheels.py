"""A wheel is untrusted input: every way to lie gives one clear error, and what is only unusual is read."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_wheels import Part, deflate, honest_parts, packed, wheels_spec, with_metadata, write_wheel, write_zip

from builder.errors import LayerError
from builder.layers.archive import read_archive

BODY = b"x = 1\n" * 400  # more than is inlined, so that it is spliced
SITE = "opt/venv/lib/python3.11/site-packages"


def pack_bytes(data: bytes, folder: Path) -> tarfile.TarFile:
    wheel = folder / "demo-1.0-py3-none-any.whl"
    wheel.write_bytes(data)
    spec, inputs = wheels_spec(wheel)
    _, blob = packed(spec, inputs)
    return tarfile.open(fileobj=io.BytesIO(blob))


def refused(data: bytes, folder: Path) -> str:
    with pytest.raises(LayerError) as caught:
        pack_bytes(data, folder)
    return str(caught.value)


def first(change: Callable[[Part], None]) -> bytes:
    """A wheel of which one thing in the first part is wrong; RECORD, which would tell too, does not list it."""
    parts = honest_parts(missing=["demo/__init__.py"])
    change(parts[0])
    return write_zip(parts)


def change(**fields: Any) -> Callable[[Part], None]:
    def apply(part: Part) -> None:
        for name, value in fields.items():
            setattr(part, name, value)

    return apply


def test_the_honest_one_is_read(tmp_path: Path) -> None:
    with pack_bytes(write_zip(honest_parts()), tmp_path) as tar:
        file = tar.extractfile(f"{SITE}/demo/__init__.py")
        assert file
        assert file.read() == BODY


@pytest.mark.parametrize(
    "name",
    [
        b"/etc/passwd",
        b"../up",
        b"a/../../b",
        b"a/..",
        b"..",
        b".",
        b"a\\b",
        b"..\\up",
        b"nul\0byte",
        b"C:/windows",
        b"c:file",
        b"demo/.wh.__init__.py",
        b"demo/.wh..wh..opq",
        b"demo/" + b"x" * 256,
    ],
)
def test_hostile_names(name: bytes, tmp_path: Path) -> None:
    refused(write_zip([*honest_parts(), Part(name=name, data=b"x")]), tmp_path)
    refused(write_zip([*honest_parts(), Part(name=name + b"/")]), tmp_path)


@pytest.mark.parametrize(
    "name", [b"demo//__init__.py", b"./demo/__init__.py", b"demo/./__init__.py", b"demo/__init__.py"]
)
def test_names_that_collide_after_normalisation(name: bytes, tmp_path: Path) -> None:
    message = refused(write_zip([*honest_parts(), Part(name=name, data=b"evil")]), tmp_path)
    assert "`demo/__init__.py` is there twice" in message


def test_names_differing_in_case_are_two(tmp_path: Path) -> None:
    with pack_bytes(write_zip([*honest_parts(), Part(name=b"demo/__INIT__.py", data=b"x")]), tmp_path) as tar:
        assert {f"{SITE}/demo/__INIT__.py", f"{SITE}/demo/__init__.py"} <= set(tar.getnames())


@pytest.mark.parametrize("name", [b"demo", b"demo/__init__.py/x"])
def test_a_file_and_a_directory_of_one_name(name: bytes, tmp_path: Path) -> None:
    assert "is a file and a directory" in refused(write_zip([*honest_parts(), Part(name=name, data=b"x")]), tmp_path)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    part = Part(name=b"demo/\xff\xfe", data=b"x", flags=0x800)
    assert "not UTF-8" in refused(write_zip([*honest_parts(), part]), tmp_path)


@pytest.mark.parametrize("flags", [0x0001, 0x0040, 0x2000, 0x0001 | 0x0800])
def test_encrypted(flags: int, tmp_path: Path) -> None:
    assert "encrypted" in refused(first(change(flags=flags)), tmp_path)


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 95, 99])
def test_other_methods(method: int, tmp_path: Path) -> None:
    assert f"compression method {method}" in refused(first(change(method=method, raw=deflate(BODY))), tmp_path)


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1, 0, 2**31])
def test_a_deflated_file_with_another_size_than_declared(size: int, tmp_path: Path) -> None:
    def lie(part: Part) -> None:
        part.size = size

    assert "inflates to" in refused(first(lie), tmp_path)


def test_a_bomb_is_not_inflated_beyond_its_declared_size(tmp_path: Path) -> None:
    bomb = deflate(bytes(300 << 20))
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    wheel.write_bytes(first(change(raw=bomb, size=len(BODY))))
    spec, inputs = wheels_spec(wheel)
    tracemalloc.start()
    with pytest.raises(LayerError, match="more than its declared size"):
        packed(spec, inputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_wrong_crc(tmp_path: Path) -> None:
    assert "CRC-32" in refused(first(change(crc=1)), tmp_path)
    assert "CRC-32" in refused(first(change(crc=1, method=0)), tmp_path)
    small = honest_parts({"demo/__init__.py": b"small"})
    small[0].crc = 1
    assert "CRC-32" in refused(write_zip(small), tmp_path)


def test_bytes_after_the_end_of_the_stream(tmp_path: Path) -> None:
    assert "bytes follow the end of its deflate stream" in refused(first(change(raw=deflate(BODY) + b"\0")), tmp_path)
    far = deflate(BODY) + bytes(600_000)  # in another piece than the end
    assert "bytes follow the end of its deflate stream" in refused(first(change(raw=far)), tmp_path)


def test_a_stream_that_does_not_end(tmp_path: Path) -> None:
    assert "does not end" in refused(first(change(raw=deflate(BODY)[:-4])), tmp_path)
    flushed = zlib.compressobj(6, zlib.DEFLATED, -15)
    raw = flushed.compress(BODY) + flushed.flush(zlib.Z_SYNC_FLUSH)
    assert "does not end" in refused(first(change(raw=raw)), tmp_path)
    assert "does not end" in refused(first(change(raw=b"", data=b"", size=0, crc=0)), tmp_path)


def test_a_malformed_stream(tmp_path: Path) -> None:
    assert "malformed" in refused(first(change(raw=b"\xff" * 100)), tmp_path)
    # a distance that reaches before the stream's own start: there would be other bytes there after splicing
    far_back = bytes([0b01001011, 0x04, 0x42, 0x00])
    with pytest.raises(zlib.error):
        zlib.decompress(far_back, -15)
    assert "hostile" in refused(first(change(raw=far_back)), tmp_path)


def test_stored_with_two_sizes(tmp_path: Path) -> None:
    assert "two sizes" in refused(first(change(method=0, size=len(BODY) + 1)), tmp_path)


@pytest.mark.parametrize(
    "local",
    [
        {"name": b"demo/__evil__.py"},
        {"method": 0},
        {"crc": 1},
        {"size": 1},
        {"compressed": 1},
        {"flags": 0x0001},
        {"flags": 0x0008},
        {"flags": 0x0800},
        {"crc": 0, "size": 0, "compressed": 0},
    ],
    ids=repr,
)
def test_a_local_header_that_disagrees(local: dict[str, Any], tmp_path: Path) -> None:
    assert "the two headers of `demo/__init__.py` differ" in refused(first(change(local=local)), tmp_path)


def test_overlapping_members(tmp_path: Path) -> None:
    parts = honest_parts()
    inner = write_zip([Part(name=b"inner", data=b"evil")]).split(b"PK\1\2")[0]
    outer = Part(name=b"outer", data=inner, method=0)
    at = len(write_zip(parts).split(b"PK\1\2")[0]) + 30 + len(b"outer")
    hidden = Part(name=b"inner", data=b"evil", offset=at)
    data = write_zip([*parts, outer, hidden])
    assert "overlap" in refused(data, tmp_path)
    twin = Part(name=b"demo/__init__.py", data=BODY, offset=0)  # the same member under the same name
    assert "twice" in refused(write_zip([*parts, twin]), tmp_path)


def test_a_directory_with_content(tmp_path: Path) -> None:
    assert "has content" in refused(write_zip([*honest_parts(), Part(name=b"demo/sub/", data=b"x")]), tmp_path)


def test_ends_that_lie(tmp_path: Path) -> None:
    good = write_zip(honest_parts())
    cases = {
        "not a zip": b"hello",
        "empty": b"",
        "cut off": good[:-1],
        "cut off before the end record": good[: good.rindex(b"PK\5\6")],
        "bytes after the end": good + b"\0",
        "bytes before the start": b"#!/bin/sh\n" + good,
        "another count": good[:-14] + struct.pack("<HH", 1, 1) + good[-10:],
        "several disks": good[:-18] + struct.pack("<HH", 1, 1) + good[-14:],
        "a directory that starts later": good[:-6] + struct.pack("<L", len(good)) + good[-2:],
        "a directory that is longer": good[:-10] + struct.pack("<L", len(good)) + good[-6:],
        "a comment that looks like an end": write_zip(honest_parts(), comment=good[-22:]),
        "a damaged directory": good.replace(b"PK\1\2", b"PK\1\3", 1),
        "no local header": good.replace(b"PK\3\4", b"PK\3\5", 1),
    }
    for case, data in cases.items():
        assert "damaged or hostile" in refused(data, tmp_path), case


def test_a_comment_is_allowed(tmp_path: Path) -> None:
    pack_bytes(write_zip(honest_parts(), comment=b"made by hand"), tmp_path).close()


def test_zip64_is_read(tmp_path: Path) -> None:
    parts = honest_parts()
    raw = deflate(BODY)
    # as Python's zipfile writes a file of 2 GiB: wide sizes in the local header only
    parts[0].local = {
        "size": 0xFFFFFFFF,
        "compressed": 0xFFFFFFFF,
        "extra": struct.pack("<HHQQ", 1, 16, len(BODY), len(raw)),
    }
    # and wide everywhere
    parts[1].extra = struct.pack("<HHQQ", 1, 16, len(parts[1].data), len(parts[1].body))
    parts[1].central_extra = parts[1].extra
    parts[1].size, parts[1].compressed = 0xFFFFFFFF, 0xFFFFFFFF
    with pack_bytes(write_zip(parts, zip64=True), tmp_path) as tar:
        file = tar.extractfile(f"{SITE}/demo/__init__.py")
        assert file
        assert file.read() == BODY


def test_zip64_that_lies(tmp_path: Path) -> None:
    parts = honest_parts()
    wide = {"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF, "extra": struct.pack("<HHQQ", 1, 16, 1, 1)}
    parts[0].local = wide
    assert "differ" in refused(write_zip(parts, zip64=True), tmp_path)
    parts[0].local = wide | {"extra": b""}
    assert "zip64 sizes" in refused(write_zip(parts, zip64=True), tmp_path)
    parts[0].local = {}
    parts[0].size = 0xFFFFFFFF
    assert "zip64 sizes" in refused(write_zip(parts, zip64=True), tmp_path)
    parts[0].central_extra = struct.pack("<HHL", 1, 4, 1)
    assert "zip64 sizes" in refused(write_zip(parts, zip64=True), tmp_path)
    parts[0].central_extra = struct.pack("<HHQHHQ", 1, 8, 1, 1, 8, 2)
    assert "twice" in refused(write_zip(parts, zip64=True), tmp_path)
    parts[0].central_extra = struct.pack("<HHQ", 1, 80, 1)
    assert "malformed" in refused(write_zip(parts, zip64=True), tmp_path)
    good = write_zip(honest_parts(), zip64=True)
    at = good.rindex(b"PK\6\6")
    two_minds = good[:-22] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    for data in (
        good[:at] + b"PK\6\5" + good[at + 4 :],
        good[:-42] + good[-22:],  # without its locator
        two_minds,
    ):
        assert "damaged or hostile" in refused(data, tmp_path)


@pytest.mark.parametrize("signature", [b"PK\7\10", b""])
@pytest.mark.parametrize("layout", ["<LLL", "<LQQ"])
def test_data_descriptors_are_read(signature: bytes, layout: str, tmp_path: Path) -> None:
    parts = honest_parts()
    part = parts[0]
    part.flags = 0x0008
    part.descriptor = signature + struct.pack(layout, zlib.crc32(BODY), len(part.body), len(BODY))
    part.local = {"crc": 0, "size": 0, "compressed": 0}
    with pack_bytes(write_zip(parts), tmp_path) as tar:
        file = tar.extractfile(f"{SITE}/demo/__init__.py")
        assert file
        assert file.read() == BODY


@pytest.mark.parametrize("descriptor", [b"", b"PK\7\10" + struct.pack("<LLL", 1, 2, 3), struct.pack("<LLL", 1, 2, 3)])
def test_data_descriptors_that_lie(descriptor: bytes, tmp_path: Path) -> None:
    parts = honest_parts()
    parts[0].flags = 0x0008
    parts[0].descriptor = descriptor
    parts[0].local = {"crc": 0, "size": 0, "compressed": 0}
    assert "data descriptor" in refused(write_zip(parts), tmp_path)


def test_no_byte_of_a_wheel_can_change_unnoticed(tmp_path: Path) -> None:
    """Flip each byte in turn: an error, or the same layer; never another one (the sha256 of the wheel apart)."""
    good = write_zip(honest_parts({"demo/__init__.py": b"y = 2\n" * 10}))
    with pack_bytes(good, tmp_path) as tar:
        wanted = {m.name: (m.mtime, m.mode, m.size) for m in tar}
    harmless = set()
    for at in range(len(good)):
        damaged = good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]
        try:
            with pack_bytes(damaged, tmp_path) as tar:
                found = {m.name: (m.mtime, m.mode, m.size) for m in tar}
        except LayerError:
            continue
        if found == wanted:
            harmless.add(at)
        else:  # only times and modes, which nothing checks
            assert {name: entry[2] for name, entry in found.items()} == {
                name: entry[2] for name, entry in wanted.items()
            }
    assert len(harmless) < len(good) / 3


def test_wheels_that_are_none(tmp_path: Path) -> None:
    def wheel(files: dict[str, bytes]) -> bytes:
        return write_zip(Part(name=path.encode(), data=data) for path, data in files.items())

    files = with_metadata({"demo/__init__.py": b""})
    without = {path: data for path, data in files.items() if not path.endswith("RECORD")}
    assert "no `demo-1.0.dist-info/RECORD`" in refused(wheel(without), tmp_path)
    without = {path: data for path, data in files.items() if not path.endswith("WHEEL")}
    assert "no `demo-1.0.dist-info/WHEEL`" in refused(wheel(without), tmp_path)
    assert "0 `.dist-info` directories" in refused(wheel({"demo.py": b""}), tmp_path)
    assert "2 `.dist-info` directories" in refused(wheel(files | {"other-2.dist-info/WHEEL": b""}), tmp_path)
    assert "should hold `demo`" in refused(wheel(with_metadata({}, name="other")), tmp_path)
    newer = files | {"demo-1.0.dist-info/WHEEL": b"Wheel-Version: 2.0\n"}
    newer["demo-1.0.dist-info/RECORD"] = b"demo-1.0.dist-info/RECORD,,\n"
    assert "wheel format 2" in refused(wheel(newer), tmp_path)
    for record in (b"\xff", b'"unclosed\n', b"one,sha256=,2,three\n"):
        assert "RECORD" in refused(wheel(files | {"demo-1.0.dist-info/RECORD": record}), tmp_path)


def test_metadata_that_its_record_does_not_know(tmp_path: Path) -> None:
    files = with_metadata({"demo/__init__.py": BODY})
    place = "demo-1.0.dist-info/METADATA"
    record = files["demo-1.0.dist-info/RECORD"].decode()
    (row,) = [line for line in record.splitlines() if line.startswith(place)]
    files[place] += b"Summary: edited, as that of torch 1.9.0\n"
    tar = pack_bytes(write_zip(Part(name=path.encode(), data=data) for path, data in files.items()), tmp_path)
    held = {member.name.rpartition("site-packages/")[2]: member for member in tar.getmembers()}
    file = tar.extractfile(held[place])
    assert file is not None
    assert file.read() == files[place]
    kept = tar.extractfile(held["demo-1.0.dist-info/RECORD"])
    assert kept is not None
    assert row in kept.read().decode().splitlines()


def test_records_that_lie(tmp_path: Path) -> None:
    files = with_metadata({"demo/__init__.py": BODY})
    record = files["demo-1.0.dist-info/RECORD"].decode()
    row = next(line for line in record.splitlines() if line.startswith("demo/__init__.py"))
    for lie, message in (
        (row[:-4] + "9999", "but RECORD says"),
        (row.replace("sha256=", "sha256=A", 1)[:-6] + row[-5:], "RECORD"),
        ("demo/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,2400", "not what RECORD says"),
        ("demo/__init__.py,sha256=é,2400", "malformed"),
    ):
        changed = files | {"demo-1.0.dist-info/RECORD": record.replace(row, lie).encode()}
        data = write_zip(Part(name=path.encode(), data=data) for path, data in changed.items())
        assert message in refused(data, tmp_path)


@pytest.mark.parametrize(
    "entry_points",
    [
        "[console_scripts]\n../../evil = demo:main\n",
        "[console_scripts]\na/b = demo:main\n",
        "[console_scripts]\n.. = demo:main\n",
        "[console_scripts]\na\\b = demo:main\n",
        "[console_scripts]\nx = demo\n",
        "[console_scripts]\nx = demo:main; import os\n",
        "[gui_scripts]\nx = demo:main()\n",
        "[console_scripts]\nx = demo:main\n  more\n",
        "[console_scripts\nx = demo:main\n",
        "x = demo:main\n",
    ],
)
def test_hostile_entry_points(entry_points: str, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo.py": b""}, entry_points=entry_points)
    spec, inputs = wheels_spec(wheel)
    with pytest.raises(LayerError):
        packed(spec, inputs)


@pytest.mark.parametrize("path", ["demo-1.0.data/evil/x", "demo-1.0.data/x", "other.data/lib/x"])
def test_unknown_places(path: str, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo.py": b"", path: b"x"})
    spec, inputs = wheels_spec(wheel)
    with pytest.raises(LayerError, match="not a place that wheels install to"):
        packed(spec, inputs)


def test_a_wheel_that_is_not_the_locked_one(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"demo.py": b""})
    spec, inputs = wheels_spec(wheel)
    with wheel.open("ab") as file:
        file.write(b"more")
    with pytest.raises(LayerError, match="not the file that was locked"):
        packed(spec, inputs)
    wheel.unlink()
    with pytest.raises(LayerError, match="could not read"):
        packed(spec, inputs)
    with pytest.raises(LayerError, match="not given"):
        packed(spec, {})


def test_a_huge_record_is_not_read_into_memory(tmp_path: Path) -> None:
    parts = honest_parts()
    record = next(part for part in parts if part.name.endswith(b"RECORD"))
    record.data = bytes(65 << 20)
    assert "too many for what it is" in refused(write_zip(parts), tmp_path)


def test_dates_that_are_none_are_1980(tmp_path: Path) -> None:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    for date in (0, (44 << 9) | (2 << 5) | 30, (44 << 9) | (13 << 5) | 1):
        wheel.write_bytes(first(change(date=date)))
        assert read_archive(wheel)[0].mtime == 315532800
