"""The same step by way of an overlay, an archive of another builder and a plain tree: one delta.

The real kernel makes the overlay; where this is not root, that part skips, aloud (`tests/executed` has it rootless).
"""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.codec import codec_for
from builder.errors import LayerError
from builder.layers.changes import read_layer, read_upper, read_whole
from builder.layers.content import FileSlice
from builder.layers.delta import Changes, delta
from builder.layers.lower import Folders
from builder.layers.root import read_content
from builder.layers.tar import Member
from builder.layers.writer import piece_size, write_layer, write_packed, write_tar
from builder.plan import CODECS

EPOCH = 1_000_000


def base(folder: Path) -> Path:
    """A lower layer with something of everything."""
    folder.mkdir()
    folder.chmod(0o755)
    for name in ("etc", "keep/deep", "old/sub", "moved/in", "emptied", "back"):
        (folder / name).mkdir(parents=True)
    for name in (
        "etc/conf",
        "keep/deep/a",
        "keep/b",
        "old/sub/x",
        "old/y",
        "moved/in/z",
        "moved/m",
        "emptied/1",
        "emptied/2",
        "one",
        "back/is",
        "back/was",
    ):
        (folder / name).write_text(f"{name}\n")
    os.link(folder / "one", folder / "two")
    (folder / "link").symlink_to("./etc//conf")
    (folder / "nothing").write_bytes(b"")
    return folder


def step(root: Path) -> None:
    """What a command might do to it."""
    (root / "etc/conf").write_text("changed\n")
    (root / "keep/b").write_text("keep/b\n")  # again, the same
    (root / "keep/deep").touch()
    shutil.rmtree(root / "old")
    (root / "old").write_text("a file now\n")
    shutil.move(root / "moved", root / "elsewhere")  # as mv(1): an overlay without redirects cannot rename a folder
    for path in (root / "emptied").iterdir():
        path.unlink()
    (root / "emptied/new").write_text("new\n")
    (root / "one").chmod(0o4755)
    (root / "nothing").unlink()
    (root / "ümläut").mkdir()
    (root / "ümläut" / ("n" * 250)).write_bytes(b"")
    os.link(root / "etc/conf", root / "etc/conf.again")
    os.mkfifo(root / "pipe", 0o640)
    (root / "bare").mkdir(mode=0o700)
    with (root / "sparse").open("wb") as file:
        file.truncate(300_000)
        file.seek(299_990)
        file.write(b"end")
    shutil.rmtree(root / "keep/deep")
    (root / "keep/deep").mkdir()
    (root / "keep/deep/a").write_text("keep/deep/a\n")  # there again
    (root / "link").unlink()
    (root / "link").symlink_to("./etc//conf")  # the same
    shutil.rmtree(root / "back")
    (root / "back").write_text("a file for a while\n")
    (root / "back").unlink()
    (root / "back").mkdir()
    (root / "back/was").write_text("back/was\n")  # and a folder again, with one of two files
    deep = root / "/".join(["a folder with a name of forty characters"] * 8)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep\n")
    (root / "to nowhere").symlink_to("x" * 300)
    if os.geteuid() == 0:
        os.setxattr(root / "etc/conf", "security.capability", CAPABILITY)
        os.chown(root / "pipe", 7, 8)


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
DEEP = ["/".join(["a folder with a name of forty characters"] * count) for count in range(1, 9)]
EXPECTED = [
    ".wh.moved", ".wh.nothing", *DEEP, f"{DEEP[-1]}/file", "back", "back/.wh.is", "bare",
    "elsewhere", "elsewhere/in", "elsewhere/in/z", "elsewhere/m", "emptied",
    "emptied/.wh.1", "emptied/.wh.2", "emptied/new", "etc", "etc/conf", "etc/conf.again", "old", "one", "pipe",
    "sparse", "to nowhere", "ümläut", "ümläut/" + "n" * 250,
]  # fmt: skip


def shown(members: list[Member]) -> list[tuple[object, ...]]:
    """Members with their content, and without the times that the test's own clock made."""
    return [
        (m.path, m.type, m.mode, m.uid, m.gid, m.linkname, m.xattrs, m.content and read_content(m.content))
        for m in members
    ]


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Callable[[str], tuple[Path, Path, Path]]]:
    """Mounts an overlay with these options: lower, upper and merged folder."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts here; tests/executed runs steps as other users, too")
    mounted: list[Path] = []

    def mount(options: str) -> tuple[Path, Path, Path]:
        lower = base(tmp_path / "lower")
        upper, work, merged = tmp_path / "upper", tmp_path / "work", tmp_path / "merged"
        for folder in (upper, work, merged):
            folder.mkdir()
        text = f"lowerdir={lower},upperdir={upper},workdir={work}{options}"
        done = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", text, merged], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no overlay with `{options}`: {done.stderr.decode().strip()}")
        mounted.append(merged)
        return lower, upper, merged

    yield mount
    for merged in mounted:
        subprocess.run(["umount", merged], check=False)


def plain(tmp_path: Path) -> list[Member]:
    lower = base(tmp_path / "plain-lower")
    whole = base(tmp_path / "plain")
    (whole / "one").unlink()
    (whole / "two").unlink()  # an overlay parts the names of one file when one of them changes
    for name in ("one", "two"):
        (whole / name).write_text("one\n")
    step(whole)
    return delta(read_whole(whole), lower=Folders([lower]), epoch=EPOCH)


def test_plain_tree(tmp_path: Path) -> None:
    made = plain(tmp_path)
    assert [member.path for member in made] == EXPECTED
    members = {member.path: member for member in made}
    assert members["etc/conf.again"].linkname == "etc/conf"
    assert members["one"].mode == 0o4755
    assert members["sparse"].size == 300_000
    assert members["pipe"].type == "fifo"
    assert members["to nowhere"].linkname == "x" * 300
    if os.geteuid() == 0:
        assert dict(members["etc/conf"].xattrs)["security.capability"] == CAPABILITY
        assert (members["pipe"].uid, members["pipe"].gid) == (7, 8)


def as_archive(whole: Path, lower: Path, *, style: str) -> io.BufferedRandom:
    """What `step` made, as a builder hands it over: everything that is there, and whiteouts for what is not."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - read by whoever gets it
    gone = [path for path in sorted(lower.rglob("*")) if not os.path.lexists(whole / path.relative_to(lower))]
    gone = [path for path in gone if (whole / path.relative_to(lower)).parent.is_dir()]
    whiteouts = [path.relative_to(lower).with_name(f".wh.{path.name}") for path in gone]
    with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def hide() -> None:
            for path in whiteouts:
                tar.addfile(tarfile.TarInfo(os.fspath(path)))

        if style == "kaniko":
            root = tarfile.TarInfo("/")
            root.type = tarfile.DIRTYPE
            tar.addfile(root)
            hide()
        for path in sorted(whole.rglob("*")):
            info = tar.gettarinfo(path, os.fspath(path.relative_to(whole)))
            info.mtime = 12.75
            if info.islnk() and style == "kaniko":
                info.linkname = "/" + info.linkname
            if info.isreg() or info.isdir():
                for name in os.listxattr(path):
                    value = os.getxattr(path, name).decode("utf-8", "surrogateescape")
                    info.pax_headers[f"SCHILY.xattr.{name}"] = value
            with path.open("rb") if info.isreg() else io.BytesIO() as file:
                tar.addfile(info, file)
        if style == "buildah":
            hide()
    return spool  # type: ignore[return-value]


@pytest.mark.parametrize("style", ["kaniko", "buildah"])
def test_archive(style: str, tmp_path: Path) -> None:
    """The same step by way of an archive: links, names, modes, capabilities, devices, folders and back."""
    lower = base(tmp_path / "lower")
    expected = shown(plain(tmp_path))
    below = Folders([lower])
    found = delta(read_layer(as_archive(tmp_path / "plain", lower, style=style), lower=below), lower=below, epoch=EPOCH)
    assert shown(found) == expected


@pytest.mark.parametrize("options", ["", ",userxattr", ",redirect_dir=on,metacopy=on", ",redirect_dir=on"])
def test_overlay(overlay: Callable[[str], tuple[Path, Path, Path]], options: str, tmp_path: Path) -> None:
    lower, upper, merged = overlay(options)
    step(merged)
    assert shown(made(upper, lower)) == shown(plain(tmp_path))


def made(upper: Path, lower: Path) -> list[Member]:
    below = Folders([lower])
    return delta(read_upper(upper, lower=below), lower=below, epoch=EPOCH)


def test_redirects_and_metacopies_do_occur(overlay: Callable[[str], tuple[Path, Path, Path]]) -> None:
    """Else the test above would not show that they are understood; and they nest."""
    lower, upper, merged = overlay(",redirect_dir=on,metacopy=on")
    step(merged)
    (merged / "elsewhere/in").rename(merged / "inner")
    (merged / "elsewhere").rename(merged / "keep/far")
    (merged / "keep/far/more").write_text("more")
    assert "trusted.overlay.redirect" in os.listxattr(upper / "keep/far")
    assert "trusted.overlay.metacopy" in os.listxattr(upper / "one")
    found = {member.path: member for member in made(upper, lower)}
    assert read_content(found["inner/z"].content or pytest.fail()) == b"moved/in/z\n"
    assert read_content(found["keep/far/m"].content or pytest.fail()) == b"moved/m\n"
    assert "keep/far/in" not in found
    assert read_content(found["one"].content or pytest.fail()) == b"one\n"


def archive(entries: list[tuple[str, bytes, str | bytes]]) -> io.BufferedRandom:
    """A layer as another builder writes it: absolute hard links, sub-second times, mode bits of the file type."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - read by whoever gets it
    with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, 0o100644 if kind == tarfile.REGTYPE else 0o40755, 12.75  # type: ignore[assignment]
            if isinstance(data, str):
                info.linkname = data
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data if isinstance(data, bytes) else b""))
    return spool  # type: ignore[return-value]


FILE, FOLDER, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE


def test_archives_of_kaniko_and_buildah(tmp_path: Path) -> None:
    """Kaniko: the root, whiteouts first, absolute links.  Buildah: whiteouts in place, leftovers of its mounts."""
    below = Folders([base(tmp_path / "lower")])
    kaniko = archive(
        [
            ("/", FOLDER, b""), ("keep/", FOLDER, b""), ("keep/.wh.b", FILE, b""), ("etc/", FOLDER, b""),
            ("emptied", FOLDER, b""), ("emptied/.wh.1", FILE, b""), ("emptied/.wh.2", FILE, b""),
            ("emptied/new", FILE, b"new"), ("etc/conf", FILE, b"c"), ("etc/d", HARD, "/etc/conf"),
            ("etc/one", HARD, "/one"),
        ]
    )  # fmt: skip
    buildah = archive(
        [
            ("emptied", FOLDER, b""), ("emptied/.wh..wh..opq", FILE, b""), ("emptied/new", FILE, b"new"),
            ("etc", FOLDER, b""), ("etc/conf", FILE, b"c"), ("etc/d", HARD, "etc/conf"), ("etc/one", FILE, b"one\n"),
            ("etc/hosts", FILE, b""), ("keep", FOLDER, b""), ("keep/.wh.b", FILE, b""), ("run", FOLDER, b""),
            ("etc/.wh..wh.plnk", FILE, b""),
        ]
    )  # fmt: skip
    one = delta(read_layer(kaniko, lower=below), lower=below, epoch=EPOCH)
    two = delta(read_layer(buildah, lower=below), lower=below, epoch=EPOCH, mounts=["run"])
    assert [member.path for member in one] == [
        "emptied", "emptied/.wh.1", "emptied/.wh.2", "emptied/new", "etc", "etc/conf", "etc/d", "etc/one",
        "keep", "keep/.wh.b",
    ]  # fmt: skip
    assert shown(one) == shown(two)
    assert [m.mtime for m in one if m.path == "etc/conf"] == [12]


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_hostile_archive(tmp_path: Path, name: str) -> None:
    below = Folders([base(tmp_path / "lower")])
    with pytest.raises(LayerError, match="leaves the image"):
        read_layer(archive([(name, FILE, b"x")]), lower=below)
    with pytest.raises(LayerError, match="which is no file"):
        read_layer(archive([("x", HARD, "/nowhere")]), lower=below)
    (tmp_path / "outside").write_text("of this machine")
    with pytest.raises(LayerError, match="which is no file"):
        read_layer(archive([("x", HARD, "../outside")]), lower=below)
    assert below.node("etc/../../outside") is None
    assert list(below.names("..")) == []


def test_sockets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower, upper = base(tmp_path / "lower"), tmp_path / "upper"
    upper.mkdir()
    monkeypatch.chdir(upper)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert made(upper, lower) == []


def test_layers_below_are_merged_as_an_overlay_does(overlay: Callable[[str], tuple[Path, Path, Path]]) -> None:
    lower, upper, merged = overlay(",userxattr")
    step(merged)
    both = Folders([lower, upper])
    seen = {
        os.path.relpath(os.path.join(top, name), merged)
        for top, dirs, files in os.walk(merged)
        for name in dirs + files
    }
    found = set()
    pending = [""]
    while pending:
        folder = pending.pop()
        for name in both.names(folder):
            path = f"{folder}/{name}" if folder else name
            found.add(path)
            node = both.node(path)
            assert node is not None
            if node.type == "dir":
                pending.append(path)
            elif isinstance(node.content, FileSlice):
                assert read_content(node.content) == (merged / path).read_bytes()
    assert found == seen
    assert both.node("old/sub") is None
    assert both.node("etc/conf/x") is None
    # And a whole merged tree is no change at all to these layers.
    assert delta(read_whole(merged), lower=both, epoch=EPOCH) == []


def test_nothing_changed_is_an_empty_layer(tmp_path: Path) -> None:
    lower = base(tmp_path / "lower")
    assert delta(Changes(nodes={}), lower=Folders([lower]), epoch=EPOCH) == []
    assert delta(read_whole(lower), lower=Folders([lower]), epoch=EPOCH) == []


@pytest.mark.parametrize("compression", ["gzip", "zstd", "plain"])
def test_a_tar_from_elsewhere_is_packed_as_its_members_are(compression: str, tmp_path: Path) -> None:
    """Whatever the pieces in which it comes."""
    lower, upper = base(tmp_path / "lower"), tmp_path / "upper"
    upper.mkdir()
    (upper / "large").write_bytes(random.Random(1).randbytes(9_000_000))
    members = made(upper, lower)
    tar, one = io.BytesIO(), io.BytesIO()
    write_tar(members, out=tar)
    codec = codec_for(CODECS[compression], compression)  # type: ignore[index, arg-type]
    packed = write_layer(members, out=one, codec=codec, compression=compression, epoch=EPOCH, compress=True, threads=2)
    for size in (1000_003, piece_size(compression)):
        tar.seek(0)
        other = io.BytesIO()
        pieces = iter(lambda size=size: tar.read(size), b"")  # type: ignore[misc]
        assert write_packed(pieces, out=other, codec=codec, compression=compression, threads=2) == packed
        assert other.getvalue() == one.getvalue()
