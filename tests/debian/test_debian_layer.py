"""The layer's bytes: the same whoever makes them, in little memory; and trees read back from disk and tar."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import small_debs

from builder.codec import codec_for
from builder.layers.debian import debian_members
from builder.layers.pack import pack
from builder.layers.root import Node, Root
from builder.layers.tree import VOLATILE, normalise, read_folder, read_tar
from builder.plan import Codec, to_plain

ROOT = Path(__file__).parents[2]
EPOCH = 1735689600
DIGEST = """
import hashlib, json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from builder.layers.content import Data
from builder.layers.debian import debian_members
from builder.layers.root import read_content
spec, inputs = json.loads(pathlib.Path(sys.argv[2]).read_text())
digest = hashlib.sha256()
for member in debian_members(spec, {k: pathlib.Path(v) for k, v in inputs.items()}, int(sys.argv[3])):
    fields = member.path, member.type, member.mode, member.uid, member.gid, member.mtime, member.linkname
    digest.update(repr(fields).encode())
    if member.content is not None:
        digest.update(read_content(member.content))
print(digest.hexdigest())
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss remembers the process before exec
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def interpreters() -> list[str]:
    """This interpreter, and one of each other minor version that this machine has."""
    found = {sys.version_info[1]: sys.executable}
    for minor in range(11, 15):
        for path in sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")):
            found.setdefault(minor, str(path))
        path = shutil.which(f"python3.{minor}")
        if path and "shims" not in path:
            found.setdefault(minor, path)
    return [found[minor] for minor in sorted(found)]


@pytest.mark.network
def test_the_same_on_every_host_and_in_little_memory(work, tmp_path: Path) -> None:
    """Other interpreters, time zones, hash seeds, umasks, locales, threads; without any installed package."""
    layer, inputs = work("trixie", "amd64")
    plan = tmp_path / "plan"
    plan.write_text(json.dumps([to_plain(layer), {key: str(path) for key, path in inputs.items()}]))
    found = set()
    for i, python in enumerate(interpreters()):
        env = {"TZ": ["UTC", "Asia/Tokyo"][i % 2], "PYTHONHASHSEED": str(i), "LC_ALL": ["C", "C.UTF-8"][i % 2]}
        command = [python, "-S", "-c", DIGEST, str(ROOT), str(plan), str(1 + i % 2)]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, umask=[0o022, 0o077][i % 2], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        digest, peak = done.stdout.split()
        found.add(digest)
        assert int(peak) < 150, f"{python}: {peak} MB"
    assert len(found) == 1


@pytest.mark.network
def test_the_packer_makes_a_tar_that_others_read(work, tmp_path: Path) -> None:
    layer, inputs = work("bookworm", "amd64")
    blob = tmp_path / "layer"
    with blob.open("wb") as out:
        codec = codec_for(Codec(), "gzip")
        packed = pack(to_plain(layer), inputs=inputs, out=out, codec=codec, compression="gzip", threads=2)
    assert packed.size == blob.stat().st_size < 80 << 20
    assert packed.digest == "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest()
    with tarfile.open(blob) as tar:
        members = {member.name: member for member in tar}
    assert members["usr/bin/su"].mode == 0o4755
    assert (members["etc/shadow"].mode, members["etc/shadow"].gid) == (0o640, 42)
    assert members["bin"].linkname == "usr/bin"
    assert members["tmp"].mode == 0o1777
    assert max(member.mtime for member in members.values()) == EPOCH
    assert not [name for name in members if "__pycache__" in name or name.endswith("-old")]


def test_threads_make_no_difference(tmp_path: Path) -> None:
    paths = [
        small_debs.deb(tmp_path, f"p{i}", [(f"./usr/share/p{i}/{j}", "file", "x" * j) for j in range(20)])
        for i in range(20)
    ]
    spec, inputs = small_debs.spec(paths)
    one = [(m.path, m.size, m.mode, m.mtime) for m in debian_members(spec, inputs, 1)]
    reverse = {**spec, "debs": spec["debs"][::-1]}  # type: ignore[index]
    assert [(m.path, m.size, m.mode, m.mtime) for m in debian_members(reverse, inputs, 4)] == one


def test_an_early_epoch_clamps_all_times(tmp_path: Path) -> None:
    path = small_debs.deb(tmp_path, "p", [("./usr/x", "file", "x")])
    early = {m.path: m.mtime for m in debian_members(*small_debs.spec([path], epoch=5))}
    assert set(early.values()) == {5}


def tree(folder: Path) -> None:
    for path in (
        *("etc/hosts", "etc/passwd-", "etc/machine-id", "etc/kept", "var/log/apt/term.log", "var/log/dpkg.log"),
        *("var/cache/apt/pkgcache.bin", "var/cache/apt/archives/a.deb", "var/cache/ldconfig/aux-cache"),
        *("var/lib/apt/lists/x_Packages", "var/lib/dpkg/status-old", "var/lib/dpkg/status"),
        *("usr/lib/p/__pycache__/m.cpython-311.pyc", "usr/lib/p/m.py", "proc/x", "run/pid", "dev/odd/x", "tmp/y"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("content")
    (folder / "var/log/wtmp").touch()
    (folder / "var/lib/apt/lists/partial").mkdir()
    (folder / "run/lock").mkdir()
    os.link(folder / "usr/lib/p/m.py", folder / "usr/lib/p/n.py")
    (folder / "usr/lib/link").symlink_to("p/m.py")
    os.mkfifo(folder / "usr/fifo")
    (folder / "usr/lib/p/m.py").chmod(0o4755)
    os.utime(folder / "usr/lib/p/m.py", (1000, 1000))


KEPT = {
    "dev", "etc", "etc/kept", "etc/machine-id", "proc", "run", "run/lock", "tmp", "usr", "usr/fifo", "usr/lib",
    "usr/lib/link", "usr/lib/p", "usr/lib/p/m.py", "usr/lib/p/n.py", "var", "var/cache", "var/cache/apt",
    "var/cache/apt/archives", "var/cache/ldconfig", "var/lib", "var/lib/apt", "var/lib/apt/lists",
    "var/lib/apt/lists/partial", "var/lib/dpkg", "var/lib/dpkg/status", "var/log", "var/log/apt", "var/log/wtmp",
}  # fmt: skip


def check(root: Root) -> None:
    normalise(root)
    members = {member.path: member for member in root.members()}
    assert set(members) == KEPT
    assert members["etc/machine-id"].size == 0
    assert (members["usr/lib/p/m.py"].type, members["usr/lib/p/m.py"].mode) == ("file", 0o4755)
    assert members["usr/lib/p/m.py"].mtime == 1000
    assert (members["usr/lib/p/n.py"].type, members["usr/lib/p/n.py"].linkname) == ("hardlink", "usr/lib/p/m.py")
    assert (members["usr/lib/link"].type, members["usr/lib/link"].linkname) == ("symlink", "p/m.py")
    assert members["usr/fifo"].type == "fifo"
    assert members["etc/kept"].mtime == EPOCH
    assert root.read("etc/kept") == b"content"


def test_a_folder_on_disk(tmp_path: Path) -> None:
    tree(tmp_path)
    check(read_folder(tmp_path, epoch=EPOCH))


def test_a_tar_of_it(tmp_path: Path, tool: Callable[[str], str]) -> None:
    (tmp_path / "tree").mkdir()
    tree(tmp_path / "tree")
    with (tmp_path / "t.tar").open("w+b") as spool:
        command = [tool("tar"), "--format=pax", "-C", tmp_path / "tree", "-cf", "-", "."]
        subprocess.run(command, stdout=spool, check=True)
        check(read_tar(spool, epoch=EPOCH))


def test_capabilities_stay(tmp_path: Path) -> None:
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    file = tmp_path / "ping"
    file.write_text("x")
    try:
        os.setxattr(file, "security.capability", value)
        os.setxattr(file, "user.other", b"dropped")
    except OSError as problem:
        pytest.skip(f"no capabilities on this file system: {problem}")
    (member,) = read_folder(tmp_path, epoch=EPOCH).members()
    assert member.xattrs == (("security.capability", value),)


def test_every_dropped_path_has_a_reason() -> None:
    assert all(pattern and reason for pattern, reason in VOLATILE)
    assert len({pattern for pattern, _ in VOLATILE}) == len(VOLATILE)


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_a_tar_that_leads_outside(name: str) -> None:
    spool = io.BytesIO(small_debs.tar([(name, "file", "x")]))
    with pytest.raises(Exception, match="which no layer can hold"):
        read_tar(spool, epoch=EPOCH)


def test_hard_links_follow_the_first_path() -> None:
    root = Root(epoch=EPOCH)
    node = Node(type="file", mode=0o600)
    for path in ("b-/x", "b/x", "a"):
        root.put(path, node)
    links = {m.path: m.linkname for m in root.members() if m.type == "hardlink"}
    assert links == {"b-/x": "a", "b/x": "a"}
