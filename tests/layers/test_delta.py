"""Every rule of the normal form, one test each: the lower tree and what a step left, as values."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Hashable, Sequence

import pytest

from builder.errors import LayerError
from builder.layers.content import Data
from builder.layers.delta import DBUS_ID, RULES, Changes, delta, resolve
from builder.layers.root import Node
from builder.layers.tar import Member, header

EPOCH = 1_000_000
CAPABILITY = (("security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)),)


def file(data: bytes = b"x", **changes: object) -> Node:
    return dataclasses.replace(Node(type="file", mode=0o644, mtime=5, content=Data(data)), **changes)  # type: ignore[arg-type]


def folder(**changes: object) -> Node:
    return dataclasses.replace(Node(type="dir", mode=0o755, mtime=5), **changes)  # type: ignore[arg-type]


def link(target: str) -> Node:
    return Node(type="symlink", mode=0o777, target=target)


class Tree:
    """A lower tree in memory, whose parents are all named."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = {"": folder(), **nodes}

    def node(self, path: str) -> Node | None:
        return self.nodes.get(path)

    def names(self, folder: str) -> Sequence[str]:
        start = f"{folder}/" if folder else ""
        return sorted({path[len(start) :].split("/")[0] for path in self.nodes if path and path.startswith(start)})

    def identity(self, path: str) -> Hashable:
        node = self.nodes[path]
        return id(node) if sum(other is node for other in self.nodes.values()) > 1 else None


LOWER = Tree(
    {
        "etc": folder(),
        "etc/motd": file(b"hello"),
        "etc/passwd": file(b"root"),
        "srv": folder(mode=0o2750, uid=3, gid=4),
        "srv/a": file(b"a"),
        "srv/b": folder(),
        "srv/b/c": file(b"c"),
        "tmp": folder(mode=0o1777),
        "var": folder(),
        "var/log": folder(),
        "var/log/old": file(b"kept"),
    }
)


def changed(nodes: dict[str, Node] | None = None, **rest: object) -> list[Member]:
    return delta(Changes(nodes=nodes or {}, **rest), lower=LOWER, epoch=EPOCH)  # type: ignore[arg-type]


def paths(members: Sequence[Member]) -> list[str]:
    return [member.path for member in members]


def test_unchanged() -> None:
    assert changed({"etc": folder(), "etc/motd": file(b"hello")}) == []
    assert paths(changed({"etc/motd": file(b"hullo")})) == ["etc", "etc/motd"]
    for difference in ({"mode": 0o600}, {"uid": 1}, {"gid": 1}, {"xattrs": CAPABILITY}):
        assert paths(changed({"etc/motd": file(b"hello", **difference)})) == ["etc", "etc/motd"], difference


def test_times() -> None:
    assert changed({"etc": folder(mtime=99), "etc/motd": file(b"hello", mtime=99)}) == []


def test_folders() -> None:
    (parent, member) = changed({"srv": folder(mode=0o2750, uid=3, gid=4, mtime=77), "srv/new": file()})
    assert (parent.path, parent.mode, parent.uid, parent.gid, parent.mtime) == ("srv", 0o2750, 3, 4, EPOCH)
    assert member.path == "srv/new"
    assert paths(changed({"srv": folder(mode=0o700)})) == ["srv"]
    assert paths(changed({"empty": folder()})) == ["empty"]


def test_clamped() -> None:
    members = {member.path: member.mtime for member in changed({"a": file(mtime=EPOCH + 1), "b": file(mtime=7)})}
    assert members == {"a": EPOCH, "b": 7}


def test_explicit() -> None:
    """Opaque, one by one, and a whole tree: the same members."""
    kept = {"srv/a": file(b"a"), "srv/b": folder(), "srv/new": file()}
    by_name = changed({"srv/new": file()}, hidden={"srv/b/c"})
    opaque = changed({"srv": folder(mode=0o2750, uid=3, gid=4), **kept}, opaque={"srv"})
    refilled = changed({"srv": folder(mode=0o2750, uid=3, gid=4), **kept}, hidden={"srv"})
    nodes = {path: node for path, node in LOWER.nodes.items() if path not in ("", "srv/b/c")}
    whole = changed({**nodes, **kept}, opaque={""})
    assert paths(by_name) == ["srv", "srv/b", "srv/b/.wh.c", "srv/new"]
    assert by_name == opaque == refilled == whole
    assert changed({}, hidden={"srv"}) == changed(
        {path: node for path, node in LOWER.nodes.items() if path and not path.startswith("srv")}, opaque={""}
    )
    assert paths(changed({}, hidden={"srv"})) == [".wh.srv"]


def test_replaced_by_another_type_and_back() -> None:
    assert paths(changed({"srv": file()})) == ["srv"]
    assert paths(changed({"srv": link("etc")}, hidden={"srv"})) == ["srv"]
    assert paths(changed({"etc/motd": folder(), "etc/motd/x": file()})) == ["etc", "etc/motd", "etc/motd/x"]
    back = changed({"srv": folder(mode=0o2750, uid=3, gid=4)}, opaque={"srv"})
    assert paths(back) == ["srv", "srv/.wh.a", "srv/.wh.b"]


def test_nothing() -> None:
    assert changed({}, hidden={"gone", "etc/none", "none/below"}, opaque={"etc/motd"}) == []
    assert changed({"etc": folder()}, hidden={"etc/none"}) == []


def test_numeric() -> None:
    assert changed({"f": file(uid=65535, gid=65535)})[0].uid == 65535
    with pytest.raises(LayerError, match="65535 is the largest"):
        changed({"f": file(gid=65536)})


def test_capabilities() -> None:
    (member,) = changed({"ping": file(xattrs=CAPABILITY)})
    assert b"SCHILY.xattr.security.capability=" + CAPABILITY[0][1] in header(member)


@pytest.mark.parametrize(
    "path",
    [
        "etc/passwd-", "etc/shadow-", "etc/.pwd.lock", "etc/resolv.conf", "var/cache/ldconfig/aux-cache",
        "var/lib/apt/lists/x_Packages", "var/lib/dpkg/status-old", "var/cache/apt/pkgcache.bin", "var/log/dpkg.log",
        "run/lock.pid", "root/.cache/pip/http/1", "var/log/old", "var/cache/debconf/config.dat-old",
    ],
)  # fmt: skip
def test_volatile(path: str) -> None:
    assert [found for found in paths(changed({path: file()})) if found == path] == []


def test_volatile_is_no_prefix() -> None:
    for path in (
        "etc/passwd-x",
        "var/lib/apt/listsx",
        "var/log/empty",
        "root/.cache/other",
        "tmp/kept",
        "var/lib/dpkg/x",
    ):
        assert path in paths(changed({path: file(b"" if path.endswith("empty") else b"x")})), path
    assert paths(changed({"run": folder(), "run/sshd": folder()})) == ["run", "run/sshd"]
    # What is deleted stays deleted, whoever put it there.
    assert paths(changed({}, hidden={"var/log/old"})) == ["var", "var/log", "var/log/.wh.old"]


def test_mounts() -> None:
    nodes = {
        "dev": folder(), "dev/null": file(b""), "proc": folder(), "sys": folder(), "etc/resolv.conf": file(b""),
        "run": folder(), "run/secrets": folder(), "run/secrets/token": file(b""), "opt": folder(), "opt/s": file(b""),
    }  # fmt: skip
    made = delta(Changes(nodes=nodes), lower=LOWER, epoch=EPOCH, mounts=["/run/secrets/token", "opt/s"])
    assert made == []
    nodes["opt/own"] = file()
    made = delta(Changes(nodes=nodes), lower=LOWER, epoch=EPOCH, mounts=["/run/secrets/token", "opt/s"])
    assert paths(made) == ["opt", "opt/own"]
    assert changed({}, hidden={"proc/1", "dev/null"}) == []


def test_mounts_are_where_links_lead() -> None:
    lower = Tree({"var": folder(), "var/run": link("/run"), "run": folder(), "a": link("b/../var/./run")})
    assert resolve("/var/run/secrets/x", lower=lower) == "run/secrets/x"
    assert resolve("a/x", lower=lower) == "run/x"
    nodes = {"run/secrets": folder(), "run/secrets/x": file(b"")}
    assert delta(Changes(nodes=nodes), lower=lower, epoch=EPOCH, mounts=["/var/run/secrets/x"]) == []
    endless = Tree({"a": link("a")})
    assert resolve("a/b", lower=endless) == "a/b"


def test_bytecode() -> None:
    lower = Tree({"m.py": file(b"old"), "__pycache__": folder(), "__pycache__/m.pyc": file(b"old bytecode")})
    nodes = {
        "m.py": file(b"new"), "__pycache__": folder(), "__pycache__/m.pyc": file(b"new"), "__pycache__/n.pyc": file(),
        "p": folder(), "p/__pycache__": folder(), "p/__pycache__/q.pyc": file(),
    }  # fmt: skip
    made = delta(Changes(nodes=nodes), lower=lower, epoch=EPOCH)
    assert paths(made) == ["__pycache__", "__pycache__/.wh.m.pyc", "m.py", "p"]
    # What nobody compiled again would be taken for that of the new source.
    names = ("m.cpython-311.pyc", "m.cpython-312.pyc", "mm.cpython-311.pyc", "n.cpython-311.pyc", "o.cpython-311.pyc")
    lower = Tree(
        {"d": folder(), **{f"d/{name}.py": file(b"old") for name in ("m", "mm", "n", "o")}}
        | {"d/__pycache__": folder(), **{f"d/__pycache__/{name}": file() for name in names}}
    )
    nodes = {"d": folder(), "d/m.py": file(b"new"), "d/mm.py": file(b"old")}
    made = delta(Changes(nodes=nodes, hidden={"d/n.py"}), lower=lower, epoch=EPOCH)
    gone = [path.rpartition(".wh.")[2] for path in paths(made) if ".wh." in path]
    assert sorted(gone) == sorted(["n.py", *names[:2], names[3]])
    assert "d/m.py" in paths(made)


def test_machine_id() -> None:
    (_, member) = changed({"etc/machine-id": file(b"0123")})
    assert member.content == Data(b"")


def test_dbus_id() -> None:
    one, other = ([*changed({"var/lib/dbus/machine-id": file(text)})][-1] for text in (b"a" * 33, b"b" * 33))
    assert one.content == other.content == Data(DBUS_ID)
    assert len(bytes.fromhex(DBUS_ID.decode().strip())) == 16


def test_links() -> None:
    one = file(b"one", mode=0o4755)
    members = {member.path: member for member in changed({"z/b": one, "z/a": one, "z/c": file(b"one", mode=0o4755)})}
    assert members["z/a"].content == Data(b"one")
    assert (members["z/b"].type, members["z/b"].linkname) == ("hardlink", "z/a")
    assert members["z/c"].type == "file"
    assert members["z/a"].mode == 0o4755
    # To a file below, unchanged: a file of its own, for a layer can link only to what it holds.
    same = file(b"hello")
    assert [(m.path, m.type) for m in changed({"etc/motd": same, "copy": same})] == [("copy", "file")]


def test_rejoined() -> None:
    shared = file(b"1")
    lower = Tree({"a": shared, "b": shared, "c": shared})
    nodes = {"a": file(b"1", uid=7), "b": file(b"1", uid=7), "c": file(b"2")}
    made = delta(Changes(nodes=nodes), lower=lower, epoch=EPOCH)
    assert [(m.path, m.type, m.linkname) for m in made] == [
        ("a", "file", ""),
        ("b", "hardlink", "a"),
        ("c", "file", ""),
    ]


def test_undivided() -> None:
    """Which of its names a command wrote to, nobody can say afterwards."""
    shared = file(b"1")
    lower = Tree({"a": shared, "b": shared, "c": shared})
    after = file(b"2")
    with pytest.raises(LayerError, match="changed `/a`, which is `/b` too"):
        delta(Changes(nodes={"a": after, "b": after, "c": shared}, undivided=True), lower=lower, epoch=EPOCH)
    nodes = {"a": file(b"2"), "b": file(b"2"), "c": shared, "new": shared}  # replaced, each on its own
    made = delta(Changes(nodes=nodes, undivided=True), lower=lower, epoch=EPOCH)
    assert [(m.path, m.type) for m in made] == [("a", "file"), ("b", "hardlink"), ("new", "file")]


def test_devices() -> None:
    with pytest.raises(LayerError, match="device node `/disk`"):
        changed({"disk": Node(type="block", major=8, minor=0)})


def test_names() -> None:
    long = "n" * 255
    deep = "/".join(["d" * 200] * 15)
    made = paths(changed({long: file(), "größe/ü": file(), f"{deep}/f": file()}))
    assert long in made
    assert "größe/ü" in made
    assert made[-1] == long or f"{deep}/f" in made
    for name in (".wh.trap", "bad\udcff"):
        with pytest.raises(LayerError):
            changed({name: file()})
    with pytest.raises(LayerError, match="too long"):
        delta(Changes(nodes={}, hidden={"n" * 252}), lower=Tree({"n" * 252: file()}), epoch=EPOCH)


def test_special_files() -> None:
    fifo = Node(type="fifo", mode=0o600)
    made = changed({"f": fifo, "l": link("../../x"), "d": folder(mode=0o3775)})
    assert [(m.path, m.type, m.mode) for m in made] == [
        ("d", "dir", 0o3775),
        ("f", "fifo", 0o600),
        ("l", "symlink", 0o777),
    ]


def test_order_of_what_comes_in_does_not_matter() -> None:
    nodes = {"b": file(), "a": folder(), "a/x": file(), "a!": file(), "c": file()}
    backwards = dict(reversed(nodes.items()))
    assert changed(nodes, hidden={"srv", "etc/motd"}) == changed(backwards, hidden={"etc/motd", "srv"})


def test_every_rule_has_a_test() -> None:
    own = set(globals())
    elsewhere = {"sockets"}  # test_delta_sources
    assert {name for name in RULES if f"test_{name.replace('-', '_')}" not in own} == elsewhere
