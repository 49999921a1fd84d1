"""The tar writer: what it writes is what readers read, in the order that the format promises."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.codec import codec_for
from builder.errors import LayerError
from builder.layers.content import Data, Deflated, FileSlice
from builder.layers.tar import Member, arrange, header, sort_key
from builder.layers.writer import write_layer
from builder.plan import Codec

EPOCH = 1735689600
CODEC = codec_for(Codec(), "gzip")


def plain(members: list[Member], *, compression: str = "plain") -> bytes:
    out = io.BytesIO()
    write_layer(members, out=out, codec=CODEC, compression=compression, epoch=EPOCH)
    return out.getvalue()


def read(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def test_order_puts_parents_first_and_keeps_trees_together() -> None:
    paths = ["a-b", "a", "a/c", "a.d", "a/b/c", "B", "a/b", "é"]
    assert sorted(paths, key=sort_key) == ["B", "a", "a/b", "a/b/c", "a/c", "a-b", "a.d", "é"]


def test_parents_are_added() -> None:
    members = arrange([Member(path="opt/x/y", content=Data(b""))], epoch=EPOCH)
    assert [(m.path, m.type, m.mode, m.mtime) for m in members] == [
        ("opt", "dir", 0o755, EPOCH),
        ("opt/x", "dir", 0o755, EPOCH),
        ("opt/x/y", "file", 0o644, 0),
    ]


def test_equal_directories_are_one_but_nothing_else_may_be_twice() -> None:
    folder = Member(path="a", type="dir", mode=0o700)
    assert arrange([folder, folder], epoch=0) == [folder]
    with pytest.raises(LayerError, match="twice"):
        arrange([folder, Member(path="a", type="dir", mode=0o755)], epoch=0)
    file = Member(path="a", content=Data(b""))
    with pytest.raises(LayerError, match="twice"):
        arrange([file, file], epoch=0)


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_lies_below_something_else_than_a_directory_is_refused(kind: str) -> None:
    below = Member(path="a/b/c", content=Data(b""))
    above = Member(path="a", type=kind, linkname="x", content=Data(b"") if kind == "file" else None)  # type: ignore[arg-type]
    with pytest.raises(LayerError, match=f"`/a` is a {kind} and a directory"):
        arrange([below, above], epoch=0)


@pytest.mark.parametrize(
    "path", ["/a", "a/", "a//b", "./a", "a/..", "", "a\0b", "a/" + "x" * 256, "\udcff", "x/" * 2100 + "x"]
)
def test_paths_that_no_layer_may_hold(path: str) -> None:
    with pytest.raises(LayerError):
        arrange([Member(path=path, content=Data(b""))], epoch=0)


def test_the_first_name_of_a_hard_linked_file_has_the_content() -> None:
    members = [
        Member(path="z", content=Data(b"hello"), mode=0o755),
        Member(path="a", type="hardlink", linkname="z"),
        Member(path="m", type="hardlink", linkname="z"),
    ]
    found = read(plain(members))
    assert [(m.name, m.type, m.linkname, m.size) for m in found.values()] == [
        ("a", tarfile.REGTYPE, "", 5),
        ("m", tarfile.LNKTYPE, "a", 0),
        ("z", tarfile.LNKTYPE, "a", 0),
    ]
    with pytest.raises(LayerError, match="no file here"):
        arrange([Member(path="a", type="hardlink", linkname="gone")], epoch=0)


def test_content_is_for_files_only() -> None:
    with pytest.raises(LayerError, match="content is for files"):
        plain([Member(path="a", type="dir", content=Data(b"x"))])
    with pytest.raises(LayerError, match="content is for files"):
        plain([Member(path="a")])


def test_a_short_ascii_member_is_one_ustar_block() -> None:
    block = header(Member(path="opt/file", mode=0o4755, uid=1, gid=2, mtime=3, content=Data(b"abc")))
    assert len(block) == 512
    assert block[:9] == b"opt/file\0"
    assert block[100:148].split(b"\0") == [b"0004755", b"0000001", b"0000002", b"00000000003", b"00000000003", b""]
    assert block[257:265] == b"ustar\00000"
    assert block[265:329] == bytes(64), "no user or group names"
    assert block[329:345].split(b"\0") == [b"0000000", b"0000000", b""]


@pytest.mark.parametrize(
    ("path", "pax"),
    [
        ("x" * 100, False),
        ("x" * 101, True),
        ("p" * 155 + "/" + "n" * 100, False),
        ("p" * 156 + "/" + "n" * 100, True),
        ("p" * 100 + "/" + "n" * 101, True),
        ("/".join(["p" * 50] * 4), False),
        ("d" * 99 + "/" + "n", False),
    ],
)
def test_long_names_use_the_prefix_where_they_can(path: str, pax: bool) -> None:
    data = header(Member(path=path, content=Data(b"")))
    assert (len(data) > 512) == pax
    assert path in read(plain([Member(path=path, content=Data(b""))]))


@pytest.mark.parametrize("length", [*range(95, 104), *range(150, 160), *range(250, 256)])
def test_a_long_directory_keeps_its_name(length: int) -> None:
    path = "x" * 120 + "/" + "d" * (length - 121) if length > 140 else "d" * length
    found = read(plain([Member(path=path, type="dir", mode=0o755)]))
    assert found[path].isdir()


def test_what_ustar_has_no_room_for_is_in_pax_records(tmp_path: Path) -> None:
    members = [
        Member(path="before-1970", mtime=-1, content=Data(b"")),
        Member(path="capable", xattrs=(("user.z", b"\n=1"), ("security.capability", b"\1\0\0\2")), content=Data(b"")),
        Member(path="far", mtime=8**11, content=Data(b"")),
        Member(path="link", type="symlink", mode=0o777, linkname="t" * 101),
        Member(path="lönk", type="symlink", mode=0o777, linkname="zïel"),
        Member(path="owner", uid=8**7, gid=2**32 - 2, content=Data(b"")),
    ]
    found = read(plain(members))
    assert found["before-1970"].mtime == -1
    assert found["far"].mtime == 8**11
    assert found["capable"].pax_headers == {
        "SCHILY.xattr.security.capability": "\1\0\0\2",
        "SCHILY.xattr.user.z": "\n=1",
    }
    assert found["link"].linkname == "t" * 101
    assert found["lönk"].linkname == "zïel"
    assert (found["owner"].uid, found["owner"].gid) == (8**7, 2**32 - 2)
    # a file of 8 GiB: only its header, for its content takes its time
    huge = header(Member(path="huge", content=FileSlice(path=tmp_path, size=8**11)))
    assert b"=8589934592\n" in huge
    with tarfile.open(fileobj=io.BytesIO(huge + bytes(1024))) as tar:
        assert next(iter(tar)).size == 8**11


@pytest.mark.parametrize("length", [*range(1, 12), *range(80, 104), *range(980, 1004)])
def test_pax_records_count_their_own_length(length: int) -> None:
    value = bytes([120]) * length
    data = plain([Member(path="f", xattrs=(("user.a", value),), content=Data(b""))])
    assert read(data)["f"].pax_headers == {"SCHILY.xattr.user.a": value.decode()}


def test_devices_and_fifos() -> None:
    members = [
        Member(path="null", type="char", mode=0o666, major=1, minor=3),
        Member(path="disk", type="block", mode=0o660, major=8, minor=1),
        Member(path="pipe", type="fifo", mode=0o600),
    ]
    found = read(plain(members))
    assert (found["null"].type, found["null"].devmajor, found["null"].devminor) == (tarfile.CHRTYPE, 1, 3)
    assert (found["disk"].type, found["disk"].devmajor) == (tarfile.BLKTYPE, 8)
    assert found["pipe"].isfifo()


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda part: part not in (".", "..") and len(part.encode()) <= 255
)
paths = st.lists(names, min_size=1, max_size=6).map("/".join)
contents = st.binary(max_size=3000) | st.integers(0, 70_000).map(lambda size: bytes(size))


@st.composite
def trees(draw: st.DrawFn) -> dict[str, tuple[str, int, int, bytes]]:
    """Paths without conflicts: kind, mode, time, content or target."""
    tree: dict[str, tuple[str, int, int, bytes]] = {}
    parents: set[str] = set()
    for path in draw(st.lists(paths, max_size=12, unique=True)):
        above = {path[:i] for i, char in enumerate(path) if char == "/"}
        if path in parents or any(tree.get(parent, ("dir",))[0] != "dir" for parent in above):
            continue
        kind = draw(st.sampled_from(["file", "deflated", "dir", "symlink"]))
        target = draw(paths).encode() if kind == "symlink" else draw(contents) if kind in ("file", "deflated") else b""
        tree[path] = (kind, draw(st.integers(0, 0o7777)), draw(st.integers(-(2**33), 2**40)), target)
        parents |= above
    return tree


@settings(max_examples=150, deadline=None)
@given(tree=trees(), compression=st.sampled_from(["plain", "gzip"]))
def test_round_trip_through_tarfile(
    tree: dict[str, tuple[str, int, int, bytes]], compression: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pool = tmp_path_factory.mktemp("pool") / "deflated"
    raw = b""
    members = []
    for path, (kind, mode, mtime, data) in tree.items():
        common = {"path": path, "mode": mode, "mtime": mtime}
        if kind == "dir":
            members.append(Member(type="dir", **common))  # type: ignore[arg-type]
        elif kind == "symlink":
            members.append(Member(type="symlink", linkname=data.decode(), **common))  # type: ignore[arg-type]
        elif kind == "file":
            members.append(Member(content=Data(data), **common))  # type: ignore[arg-type]
        else:
            stream = zlib.compressobj(6, zlib.DEFLATED, -15)
            body = stream.compress(data) + stream.flush()
            content = Deflated(
                path=pool, offset=len(raw), compressed_size=len(body), size=len(data), crc32=zlib.crc32(data)
            )
            raw += body
            members.append(Member(content=content, **common))  # type: ignore[arg-type]
    pool.write_bytes(raw)
    blob = plain(members, compression=compression)
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:*") as tar:
        listed = list(tar)
        assert [member.name for member in listed] == sorted((member.name for member in listed), key=sort_key)
        found = {member.name: member for member in listed}
        assert set(tree) <= set(found)
        for path, (kind, mode, mtime, data) in tree.items():
            member = found[path]
            assert (member.mode, member.mtime, member.uid, member.uname) == (mode, mtime, 0, "")
            if kind in ("file", "deflated"):
                file = tar.extractfile(member)
                assert file
                assert file.read() == data
            elif kind == "symlink":
                assert member.linkname == data.decode()
            else:
                assert member.isdir()


def test_gnu_tar_reads_it(tmp_path: Path) -> None:
    if shutil.which("tar") is None:
        pytest.skip("needs `tar`")
    members = [
        Member(path="é/" + "long" * 60, content=Data(b"content"), mtime=1),
        Member(path="b" * 90 + "/" + "c" * 90, content=Data(bytes(200_000)), mode=0o755),
        Member(path="hard", type="hardlink", linkname="b" * 90 + "/" + "c" * 90),
        Member(path="link", type="symlink", mode=0o777, linkname="é"),
    ]
    (tmp_path / "a.tar.gz").write_bytes(plain(members, compression="gzip"))
    done = subprocess.run(["tar", "-xzf", "a.tar.gz"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stderr == b""
    assert (tmp_path / ("é/" + "long" * 60)).read_bytes() == b"content"
    assert (tmp_path / "hard").read_bytes() == bytes(200_000)
    assert (tmp_path / "hard").stat().st_nlink == 2
    assert (tmp_path / "link").readlink() == Path("é")
