"""The base without running anything, against real bootstraps of the very same packages, file by file."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from builder import sandbox
from builder.backends.debootstrap import pack_executed
from builder.codec import codec_for
from builder.layers.deb import read_control
from builder.layers.debian import scripts
from builder.layers.root import Node, Root, read_content
from builder.layers.tree import normalise, read_tar
from builder.layers.writer import write_layer
from builder.plan import Codec
from builder.report import Quiet

EPOCH = 1735689600
HOOK = Path("/usr/share/mmdebstrap/hooks/merged-usr")
pytestmark = [pytest.mark.network, pytest.mark.xdist_group("debian")]  # which makes each tree once


@dataclasses.dataclass(frozen=True)
class Accepted:
    """A difference that is meant to be: where, in what, and why."""

    pattern: str
    kind: str
    reason: str


ACCEPTED = (
    Accepted("etc/fstab", "only there", "mmdebstrap writes one; containers have none"),
    Accepted("etc/dpkg/dpkg.cfg.d/99mmdebstrap", "only there", "what we tell its dpkg, to save time"),
    Accepted("etc/apt/sources.list", "only there", "mmdebstrap notes where it got its packages"),
    Accepted("etc/apt/sources.list", "content", "ours is the example that apt holds for the release"),
    Accepted(
        "etc/apt/sources.list.d/debian.sources", "only here", "ours is the example that apt holds for the release"
    ),
    Accepted("var/lib/apt/extended_states", "only there", "written by apt-get, empty; we did not run apt-get"),
    Accepted("var/lib/apt/lists/partial", "owner", "apt hands it to _apt the first time it runs"),
    Accepted("var/lib/apt/lists/partial", "mode", "apt closes it the first time it runs"),
    Accepted("var/cache/apt/archives/partial", "owner", "apt hands it to _apt the first time it runs"),
    Accepted("var/cache/apt/archives/partial", "mode", "apt closes it the first time it runs"),
    Accepted(
        "var/lib/dpkg/diversions", "order", "dpkg-divert writes them in the order of a hash table; ours is sorted"
    ),
)
"""Everything in which the base may differ from what mmdebstrap makes."""


def differences(here: Root, there: Root) -> list[tuple[str, str, str]]:
    """Path, kind and details of every difference; what comes from run to run was dropped from both before."""
    ours = dict(here.walk(""))
    theirs = dict(there.walk(""))
    found = [(path, "only here", node.type) for path, node in ours.items() if path not in theirs]
    found += [(path, "only there", node.type) for path, node in theirs.items() if path not in ours]
    for path in sorted(ours.keys() & theirs.keys()):
        found += [(path, kind, detail) for kind, detail in _differ(path, ours[path], theirs[path])]
    return sorted(found)


def _differ(path: str, a: Node, b: Node) -> list[tuple[str, str]]:
    if a.type != b.type:
        return [("type", f"{a.type} {b.type}")]
    found = []
    if (a.uid, a.gid) != (b.uid, b.gid):
        found.append(("owner", f"{a.uid}:{a.gid} {b.uid}:{b.gid}"))
    if a.mode != b.mode:
        found.append(("mode", f"{a.mode:o} {b.mode:o}"))
    if a.target != b.target:
        found.append(("target", f"{a.target} {b.target}"))
    if a.xattrs != b.xattrs:
        found.append(("xattrs", f"{a.xattrs} {b.xattrs}"))
    if a.type != "dir" and min(a.mtime, EPOCH) != min(b.mtime, EPOCH):
        found.append(("time", f"{a.mtime} {b.mtime}"))
    if a.content is not None and b.content is not None:
        one, two = read_content(a.content), read_content(b.content)
        if path == "var/lib/dpkg/diversions" and one != two and _triples(one) == _triples(two):
            found.append(("order", ""))
        elif one != two:
            found.append(("content", f"{len(one)} and {len(two)} bytes"))
    return found


def _triples(data: bytes) -> list[tuple[bytes, ...]]:
    lines = data.split(b"\n")
    return sorted(tuple(lines[i : i + 3]) for i in range(0, len(lines) - 1, 3))


def _repository(folder: Path, paths: list[Path]) -> None:
    # A flat repository that holds these packages and no others: whoever bootstraps from it has no choice.
    text = ""
    for path in paths:
        control = read_control(path)
        (folder / f"{control.package}.deb").symlink_to(path)
        fields = control.files["control"].data.decode().strip("\n")
        text += f"{fields}\nFilename: ./{control.package}.deb\nSize: {path.stat().st_size}\nSHA256: {path.name}\n\n"
    (folder / "Packages").write_text(text)
    folder.chmod(0o755)


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_mmdebstrap_makes_the_same_system(suite: str, work, copied, tool: Callable[[str], str]) -> None:
    mmdebstrap = tool("mmdebstrap")
    layer, inputs = work(suite, "amd64")
    here = copied(suite, "amd64")
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as spool:
        folder = Path(name)
        folder.chmod(0o755)
        _repository(folder, list(inputs.values()))
        command = [
            mmdebstrap,
            "--variant=apt",
            f"--include={','.join(deb.package for deb in layer.debs)}",
            *([f"--hook-dir={HOOK}"] if suite == "bookworm" else []),  # in trixie, `base-files` merges /usr itself
            "--format=tar",
            "--dpkgopt=force-unsafe-io",
            *(suite, "-", f"deb [trusted=yes] copy://{folder} ./"),
        ]
        env = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, stdout=spool, stderr=subprocess.PIPE, env=env, check=False)
        if done.returncode and b"cannot find" in done.stderr and os.geteuid() != 0:
            pytest.skip(f"mmdebstrap cannot run here: {done.stderr.decode()[-200:]}")
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        there = read_tar(spool, epoch=EPOCH)
        for root in (here, there):
            normalise(root)
        found = differences(here, there)
    used = set()
    unexpected = []
    for path, kind, detail in found:
        rule = next((a for a in ACCEPTED if fnmatch.fnmatchcase(path, a.pattern) and a.kind == kind), None)
        if rule is None:
            unexpected.append((path, kind, detail))
        used.add(rule)
    assert not unexpected
    assert len(dict(here.walk(""))) > 6000
    assert any(rule and rule.kind == "order" for rule in used)  # the comparison does see differences


def test_dpkg_in_the_sandbox_makes_the_same_bytes(work, made, monkeypatch, tmp_path: Path) -> None:
    """One script is struck from the table: the base is executed, and is the same tree, times and all."""
    problems = sandbox.check(scratch=tmp_path, ids="full", network="none")
    if problems:
        pytest.skip(str(problems[0]))
    layer, inputs = work("trixie", "amd64")
    known = made("trixie", "amd64")
    deb = next(deb for deb in layer.debs if deb.package == "base-files")
    struck = scripts.identity(read_control(inputs[deb.sha256]), "postinst")
    table = {digest: names for digest, names in scripts.TABLE.items() if digest != struck}
    monkeypatch.setattr(scripts, "TABLE", table)
    assert scripts.unknown_script(read_control(inputs[deb.sha256])) == "postinst"
    codec = codec_for(Codec(), "plain")
    with tempfile.TemporaryFile() as there, tempfile.TemporaryFile() as here:
        made_there = pack_executed(
            dataclasses.replace(layer, executed=True),
            inputs=inputs, out=there, codec=codec, compression="plain", threads=2, report=Quiet(), scratch=tmp_path,
        )  # fmt: skip
        assert not differences(known, read_tar(there, epoch=EPOCH))
        assert not list(tmp_path.glob("cogsmith-*"))
        made_here = write_layer(known.members(), out=here, codec=codec, compression="plain", epoch=EPOCH)
    assert made_there == made_here


def test_resolving_says_which_script_is_unknown(base, mirrors, shared_store, monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.resolve.debian import unmodelled

    found, _, remotes = base("trixie", "amd64")
    assert (found.executed, found.reason) == (False, "")
    assert {remote.sha256 for remote in remotes} == {deb.sha256 for deb in found.debs}
    assert all(remote.urls and remote.urls[0].startswith(mirrors) for remote in remotes)
    paths = {deb.sha256: shared_store.file_path(deb.sha256) for deb in found.debs}
    deb = next(deb for deb in found.debs if deb.package == "tzdata")
    struck = scripts.identity(read_control(paths[deb.sha256]), "config")
    monkeypatch.setattr(scripts, "TABLE", {k: v for k, v in scripts.TABLE.items() if k != struck})
    assert unmodelled(found.debs, paths=paths) == f"`config` of `tzdata` {deb.version} is not known to this version"


RUN = r"""
set -eux
test -z "$(dpkg --audit)"
test -z "$(dpkg -V)"
test -z "$(find / -xdev -name '*.dpkg-*')"
ldconfig -p | grep -F 'libcrypto.so.3 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcrypto.so.3'
LANG=C.UTF-8 python3 -c 'import sys; assert sys.getfilesystemencoding() == "utf-8"; print("ü")'
LC_ALL=C.UTF-8 locale 2>&1 | grep -F LC_ALL=C.UTF-8
python3 - <<'EOF'
import ctypes.util, grp, pwd, socket, sqlite3, ssl, subprocess, zoneinfo
loaded = len(ssl.create_default_context().get_ca_certs())
assert loaded > 100, loaded
subject = ssl.create_default_context().get_ca_certs()[0]
folder = subprocess.run("openssl x509 -in /etc/ssl/certs/ISRG_Root_X1.pem -noout -subject_hash", shell=True,
                        capture_output=True, text=True, check=True).stdout.strip()
assert open(f"/etc/ssl/certs/{folder}.0").read() == open("/etc/ssl/certs/ISRG_Root_X1.pem").read()
subprocess.run("openssl verify -CApath /etc/ssl/certs -no-CAfile /etc/ssl/certs/ISRG_Root_X1.pem",
               shell=True, check=True)
assert ctypes.util.find_library("ssl")
assert pwd.getpwnam("_apt").pw_uid == 42 and grp.getgrnam("shadow").gr_gid == 42
assert socket.getservbyname("https") == 443
assert zoneinfo.ZoneInfo("Europe/Paris")
EOF
python3 -m venv /tmp/venv
/tmp/venv/bin/pip --version
useradd --create-home someone
su someone -c 'test "$(id -un)" = someone'
tini -- true
apt-get update
apt-get install --yes --no-install-recommends hello
hello
test -z "$(dpkg --audit)"
test "$(apt-get --simulate dist-upgrade | grep -c ^Inst)" = 0
"""


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_result_is_a_working_system(suite: str, copied, mirrors, tmp_path: Path) -> None:
    problems = sandbox.check(scratch=tmp_path, ids="full")
    if problems:
        pytest.skip(str(problems[0]))
    if os.geteuid() != 0:
        pytest.skip("not root: the tree cannot be written with its owners")
    root = copied(suite, "amd64")
    for name in root.names("etc/apt/sources.list.d"):
        root.remove(f"etc/apt/sources.list.d/{name}")
    lines = []
    for mirror in mirrors:
        suites = [f"{suite}-security"] if mirror.endswith("-security") else [suite, f"{suite}-updates"]
        lines += [f"deb {mirror} {name} main\n" for name in suites]
    root.write("etc/apt/sources.list", "".join(lines))
    system = tmp_path / "system"
    try:
        write_out(root, system)
        with tempfile.TemporaryFile() as log:
            code = run(system, RUN, scratch=tmp_path / "sandbox", log=log)
            log.seek(0)
            assert code == 0, log.read().decode(errors="replace")[-4000:]
    finally:
        sandbox.remove_tree(system)


def run(system: Path, script: str, *, scratch: Path, log: BinaryIO) -> int:
    spec = sandbox.Spec(
        root=sandbox.Directory(path=system),
        argv=("/bin/sh", "-c", script),
        scratch=scratch,
        env=(("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("DEBIAN_FRONTEND", "noninteractive"), ("HOME", "/root")),
        mounts=(sandbox.Mount(target="/etc/resolv.conf", source=Path("/etc/resolv.conf"), readonly=True),),
        ids="full",
    )
    with Path(os.devnull).open("rb") as nothing:
        return sandbox.run(spec, stdin=nothing, stdout=log, stderr=log)


def write_out(root: Root, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    for path, node in root.walk(""):
        target = folder / path
        if node.type == "dir":
            target.mkdir()
        elif node.type == "symlink":
            target.symlink_to(node.target)
        elif node.content is not None:
            target.write_bytes(read_content(node.content))
        os.chown(target, node.uid, node.gid, follow_symlinks=False)
        if node.type != "symlink":
            target.chmod(node.mode)


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_arm64_is_made_on_any_machine(suite: str, made) -> None:
    root, amd64 = made(suite, "arm64"), made(suite, "amd64")
    python = {"bookworm": "3.11", "trixie": "3.13"}[suite]
    for path in (
        f"usr/bin/python{python}",
        "usr/bin/tini",
        "bin/sh",
        "lib/ld-linux-aarch64.so.1",
        "lib/aarch64-linux-gnu/libc.so.6",
    ):
        node = root.node(path, follow=True)
        assert node is not None, path
        assert node.content is not None, path
        head = read_content(node.content)[:20]
        assert head[:4] == b"\x7fELF", path
        assert int.from_bytes(head[18:20], "little") == 183, path  # EM_AARCH64
    assert root.node("lib64") is None
    assert root.read("var/lib/dpkg/arch") == b"arm64\n"
    cache = root.read("etc/ld.so.cache")
    assert cache.startswith(b"glibc-ld.so.cache1.1")
    assert int.from_bytes(cache[48:52], "little") == 0x0A03
    assert b"/lib/aarch64-linux-gnu/libc.so.6\0" in cache
    shared = ("etc/passwd", "etc/shadow", "etc/ca-certificates.conf", "etc/ssl/certs/ca-certificates.crt", "etc/shells",
              "etc/pam.d/common-auth", "var/lib/dpkg/alternatives/which")  # fmt: skip
    for path in shared:
        assert root.read(path) == amd64.read(path), path
    stems = {name.replace("arm64", "amd64") for name in root.names("var/lib/dpkg/info")}
    assert stems == set(amd64.names("var/lib/dpkg/info"))
