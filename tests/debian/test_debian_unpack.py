"""Small packages unpacked and registered, compared with what dpkg itself does to the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import small_debs

from builder.backends.debootstrap import executed_root
from builder.errors import BackendError, LayerError
from builder.layers.debian import debian_members, debian_root
from builder.layers.root import Node, Root
from builder.layers.tree import read_folder
from builder.plan import Deb, DebianLayer
from builder.report import Quiet

EPOCH = 1735689600


def build(*paths: Path) -> Root:
    spec, inputs = small_debs.spec(paths)
    return debian_root(spec, inputs)


def test_links_lead_where_the_kernel_would() -> None:
    root = Root(epoch=EPOCH)
    root.mkdir("usr/lib/x")
    root.symlink("lib", "usr/lib")
    root.symlink("usr/lib/y", "/lib/x/../x")
    root.symlink("abs", "/usr/lib")
    root.write("lib/y/file", "1")
    assert root.real("abs/y/file") == "usr/lib/x/file"
    assert root.read("/usr/lib/x/file") == b"1"
    assert root.names("lib/y") == ["file"]
    assert [path for path, _ in root.walk("")] == [
        "abs",
        "lib",
        "usr",
        "usr/lib",
        "usr/lib/x",
        "usr/lib/x/file",
        "usr/lib/y",
    ]
    root.symlink("loop", "loop/a")
    with pytest.raises(LayerError, match="too many symbolic links"):
        root.real("loop/b")


def test_what_stands_in_the_way() -> None:
    root = Root(epoch=EPOCH)
    root.write("a", "file")
    with pytest.raises(LayerError, match="`/a` is no folder"):
        root.put("a/b", Node(type="file"))
    root.write("d/x", "")
    with pytest.raises(LayerError, match="cannot be replaced"):
        root.put("d", Node(type="file"))
    root.remove("d")
    root.write("d", "now a file")
    assert root.read("d") == b"now a file"


def test_files_of_a_merged_system(tmp_path: Path) -> None:
    path = small_debs.deb(
        tmp_path,
        "tool",
        [("./lib/", "dir", ""), ("./lib/a/", "dir", ""), ("./lib/a/x", "file", "1"), ("./bin/tool", "exec", "2"),
         ("./bin/hard", "hardlink", "./bin/tool")],
    )  # fmt: skip
    members = {member.path: member for member in debian_members(*small_debs.spec([path]))}
    assert members["lib"].type == "symlink"
    assert members["usr/lib/a/x"].type == "file"
    assert (members["usr/bin/hard"].type, members["usr/bin/tool"].linkname) == ("file", "usr/bin/hard")
    assert members["usr/lib/a/x"].mtime == 1000000000
    assert members["usr/lib/a"].mtime == EPOCH


def test_the_same_file_twice(tmp_path: Path) -> None:
    one = small_debs.deb(tmp_path, "one", [("./etc/x", "file", "1")])
    two = small_debs.deb(tmp_path, "two", [("./etc/x", "file", "2")])
    with pytest.raises(LayerError, match="packages `one` and `two` both hold `/etc/x`"):
        build(one, two)


@pytest.mark.parametrize("taker", ["one", "two"])
def test_a_file_that_another_package_may_take(tmp_path: Path, taker: str) -> None:
    other = {"one": "two", "two": "one"}[taker]
    taking = small_debs.deb(tmp_path, taker, [("./etc/x", "file", taker)], fields={"Replaces": f"y, {other} (<< 2)"})
    giving = small_debs.deb(tmp_path, other, [("./etc/x", "file", other)])
    root = build(taking, giving)
    assert root.read("etc/x") == taker.encode()
    assert b"/etc/x" in root.read(f"var/lib/dpkg/info/{taker}.list")
    assert b"/etc/x" not in root.read(f"var/lib/dpkg/info/{other}.list")


def test_an_unknown_script(tmp_path: Path) -> None:
    path = small_debs.deb(tmp_path, "odd", scripts={"postinst": "#!/bin/sh\nrm -rf /\n"})
    with pytest.raises(LayerError, match=r"`postinst` of the Debian package `odd` 1\.0 is not known"):
        build(path)


def test_a_script_that_does_not_run_on_installation(tmp_path: Path) -> None:
    path = small_debs.deb(tmp_path, "odd", scripts={"prerm": "#!/bin/sh\nrm -rf /\n"})
    assert build(path).read("var/lib/dpkg/info/odd.prerm") == b"#!/bin/sh\nrm -rf /\n"


def test_a_package_that_was_not_handed_over(tmp_path: Path) -> None:
    spec, _ = small_debs.spec([small_debs.deb(tmp_path, "a")])
    with pytest.raises(LayerError, match=r"was not given the Debian package `a` 1\.0"):
        debian_root(spec, {})


def test_a_package_that_changed_after_it_was_locked(tmp_path: Path) -> None:
    spec, inputs = small_debs.spec([small_debs.deb(tmp_path, "a")])
    (path,) = inputs.values()
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(LayerError, match="is not the package that was locked"):
        debian_root(spec, inputs)


def test_a_spool_that_cannot_be_made(tmp_path: Path) -> None:
    spec, inputs = small_debs.spec([small_debs.deb(tmp_path, "a")])
    with pytest.raises(LayerError, match=r"could not unpack the Debian packages in .*absent`: No such file") as caught:
        debian_root(spec, inputs, 1, tmp_path / "absent")
    assert "free some space" in (caught.value.hint or "")


def test_a_package_that_vanished(tmp_path: Path) -> None:
    spec, inputs = small_debs.spec([small_debs.deb(tmp_path, "a")])
    (path,) = inputs.values()
    path.unlink()
    with pytest.raises(LayerError, match=r"could not read `.*a_1\.0_amd64\.deb`: No such file"):
        debian_root(spec, inputs)


NO_ROOM = """
import json, pathlib, resource, sys
sys.path.insert(0, sys.argv[1])
from builder.codec import codec_for
from builder.errors import LayerError
from builder.layers.pack import pack
from builder.plan import Codec
spec, inputs, scratch = json.loads(sys.stdin.read())
scratch = scratch and pathlib.Path(scratch)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    with open("/dev/null", "wb") as out:
        pack(spec, inputs={k: pathlib.Path(v) for k, v in inputs.items()}, out=out, codec=codec_for(Codec(), "plain"),
             compression="plain", scratch=scratch)
except LayerError as error:
    print(error)
"""


@pytest.mark.parametrize("named", [False, True])
def test_no_room_for_the_spool(tmp_path: Path, named: bool) -> None:
    """The limit on a file's size stands for a full disk: the same failure of the same write."""
    spec, inputs = small_debs.spec([small_debs.deb(tmp_path, "a", [("./usr/big", "file", "x" * 1000000)])])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    work = json.dumps([dict(spec), {k: str(v) for k, v in inputs.items()}, str(scratch) if named else None])
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", NO_ROOM, root], input=work, capture_output=True, text=True, check=True)
    place = f"`{scratch}`" if named else "the folder for temporary files"
    assert f"could not unpack the Debian packages in {place}: File too large\n" in done.stdout
    assert "hint: free some space" in done.stdout
    assert ("TMPDIR" in done.stdout) is not named
    assert "Traceback" not in done.stderr
    assert not list(scratch.iterdir())


def test_an_executed_base_that_cannot_be_written(tmp_path: Path) -> None:
    """What fails before dpkg runs says where, and leaves nothing behind."""
    _, inputs = small_debs.spec([small_debs.deb(tmp_path, "a", [(f"./usr/{'x' * 300}", "file", "x")])])
    ((sha256, path),) = inputs.items()
    debs = (Deb(package="a", version="1.0", architecture="amd64", filename=path.name, size=1, sha256=sha256),)
    layer = DebianLayer(suite="trixie", architecture="amd64", debs=debs, epoch=EPOCH)
    scratch = tmp_path / "scratch"
    with pytest.raises(BackendError, match=r"could not make the Debian base in `.*scratch.*`: No such file"):
        executed_root(layer, inputs=inputs, threads=1, report=Quiet(), scratch=scratch)
    scratch.mkdir()
    with pytest.raises(BackendError, match=r"could not make the Debian base in `.*xxx`: File name too long"):
        executed_root(layer, inputs=inputs, threads=1, report=Quiet(), scratch=scratch)
    assert not list(scratch.iterdir())


def test_dpkg_writes_the_same_database(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """Multi-line relations, conffiles, odd fields, triggers and multi-arch names, against dpkg on the same files."""
    dpkg = tool("dpkg")
    if os.geteuid() != 0:
        pytest.skip("dpkg --root needs root")
    fields = {
        "Depends": "two  ,\n three|four (>=  2:1~)", "Multi-Arch": "same", "Source": "src (1.0)", "X-Custom": "1",
        "Homepage": "http://h.example", "Section": "misc", "Priority": "optional", "Installed-Size": "12",
        "Description": "one\n two\n .\n  three",
    }  # fmt: skip
    one = small_debs.deb(
        tmp_path,
        "libone",
        [
            ("./etc/", "dir", ""),
            ("./etc/b", "file", "b"),
            ("./etc/a", "file", "a"),
            ("./usr/", "dir", ""),
            ("./usr/x", "file", "x"),
        ],
        fields=fields,
        scripts={
            "conffiles": "/etc/b\n/etc/a\n",
            "triggers": "interest-noawait /usr/share/x\ninterest named\nactivate-noawait ldconfig\n",
            "md5sums": "9dd4e461268c8034f5c8564e155c67a6  usr/x\n",
            "shlibs": "x 1\n",
        },
        version="2:1.0-1",
    )
    two = small_debs.deb(
        tmp_path,
        "two",
        [("./etc/", "dir", ""), ("./etc/z", "file", "z"), ("./etc/y", "file", "y"), ("./etc/l", "symlink", "y"),
         ("./etc/h", "hardlink", "./etc/z")],
        architecture="all",
        scripts={"conffiles": "/etc/y\n"},
    )  # fmt: skip
    three = small_debs.deb(tmp_path, "three", [("./opt/", "dir", "")], fields={"Provides": "v (= 1),w"}, suffix=".gz")
    real = tmp_path / "real"
    for name in ("info", "updates", "triggers", "parts", "alternatives"):
        (real / "var/lib/dpkg" / name).mkdir(parents=True)
    (real / "var/lib/dpkg/status").write_text("")
    (real / "var/lib/dpkg/arch").write_text("amd64\n")
    done = subprocess.run(
        [
            dpkg,
            f"--root={real}",
            "--force-depends",
            "--force-script-chrootless",
            "--log=/dev/null",
            "--install",
            one,
            two,
            three,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "DPKG_MAINTSCRIPT_DEBUG": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = read_folder(real, epoch=EPOCH)
    ours = build(one, two, three)
    wanted = [p for p, node in theirs.walk("var/lib/dpkg") if node.type == "file" and not p.endswith(("-old", "/lock"))]
    assert len(wanted) > 10
    for path in wanted:
        assert ours.read(path) == theirs.read(path), path
        mine, yours = ours.node(path), theirs.node(path)
        assert mine is not None
        assert yours is not None
        assert mine.mode == yours.mode, path
