"""The parts that stand in for programs, against the programs themselves."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import small_debs

from builder.layers.deb import read_control
from builder.layers.debian.certificates import rehash, subject_hash
from builder.layers.debian.ldcache import Library, cache, update_cache
from builder.layers.debian.models import MODELS
from builder.layers.debian.scripts import identity, models_of, unknown_script
from builder.layers.debian.setup import commands, here_document
from builder.layers.debian.table import TABLE
from builder.layers.debian.table_system import SYSTEM
from builder.layers.root import Root
from builder.layers.tree import read_folder

EPOCH = 1735689600
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def test_openssl_gives_the_same_hashes(tool: Callable[[str], str], tmp_path: Path) -> None:
    openssl = tool("openssl")
    if not BUNDLE.exists():
        pytest.skip("no bundle of certificates on this host")
    pems = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", BUNDLE.read_bytes(), re.DOTALL)
    assert len(pems) > 50
    folder = tmp_path / "certs"
    folder.mkdir()
    for i, pem in enumerate([*pems, pems[0]]):  # one of them twice
        (folder / f"{i:03}.pem").write_bytes(pem)
    root = Root(epoch=EPOCH)
    rehash({path.name: path.read_bytes() for path in folder.iterdir()}, root=root)
    subprocess.run([openssl, "rehash", folder], check=True, capture_output=True)
    theirs = {path.name: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()}
    found = ((name, root.node(f"etc/ssl/certs/{name}")) for name in root.names("etc/ssl/certs"))
    assert {name: node.target for name, node in found if node} == theirs


@pytest.mark.parametrize(
    "subject",
    [
        "/C=DE/O=  Two   Spaces /CN=UPPER lower",
        "/CN=Tür über ÄÖ",
        "/O=A+OU=B/CN=multi",
        "/emailAddress=Some.One@Example.ORG/serialNumber=0012",
        "/CN=" + "x" * 60 + "/OU=" + "y" * 60 + "/O=" + "z" * 60,
    ],
)
def test_odd_names(subject: str, tool: Callable[[str], str], tmp_path: Path) -> None:
    openssl = tool("openssl")
    for kind in ("utf8only", "default", "nombstr"):
        config = tmp_path / "c"
        config.write_text(f"[req]\ndistinguished_name=dn\nstring_mask={kind}\n[dn]\n")
        command = [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"),
            *("-utf8", "-multivalue-rdn", "-subj", subject, "-config", config, "-keyout", tmp_path / "k"),
        ]
        pem = subprocess.run(command, check=True, capture_output=True).stdout
        wanted = subprocess.run(
            [openssl, "x509", "-noout", "-subject_hash"], input=pem, check=True, capture_output=True
        ).stdout.decode()
        assert subject_hash(base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))) == wanted.strip()


def test_ldconfig_writes_the_same_cache(tool: Callable[[str], str], tmp_path: Path) -> None:
    """Libraries of the host under names that sort in odd ways, in several folders."""
    ldconfig = tool("ldconfig")
    source = next((path for path in Path("/usr/lib").glob("*-linux-gnu/libz.so.1")), None)
    version = _glibc_package()
    if source is None or version is None:
        pytest.skip("no libz.so.1, or a glibc that is not Debian's")
    system = tmp_path / "system"
    names = [
        "libz.so.1",
        "libz.so.1.9",
        "libz.so.1.10",
        "libzz.so.1",
        "libz10.so",
        "libz2.so",
        "libz-2.so.3",
        "notalib.so",
    ]
    for folder, count in (("usr/lib", 3), ("usr/lib64", 8), ("opt/one", 5), ("opt/two", 8)):
        (system / folder).mkdir(parents=True)
        for name in names[:count]:
            shutil.copy(source.resolve(), system / folder / name)
    (system / "opt/three").mkdir()
    for name in ("libz.so.1.9", "libz.so.1.10"):
        shutil.copy(source.resolve(), system / "opt/three" / name)
    (system / "lib").symlink_to("usr/lib")
    (system / "lib64").symlink_to("usr/lib64")
    (system / "opt/two/libtext.so").write_text("/* GNU ld script */\n")
    (system / "opt/two/liblink.so.7").symlink_to("libz.so.1")
    (system / "opt/two/libgone.so.7").symlink_to("nowhere")
    (system / "etc/ld.so.conf.d").mkdir(parents=True)
    (system / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n/opt/two # the second\n")
    (system / "etc/ld.so.conf.d/a.conf").write_text("# a comment\n/opt/three\n/opt/one/\n/absent\n")
    (system / "etc/ld.so.conf.d/ignored").write_text("/usr/lib64\n")
    ours = read_folder(system, epoch=EPOCH)
    update_cache(ours, version=version)
    subprocess.run([ldconfig, "-r", system], check=True, capture_output=True)
    made = ours.node("opt/three/libz.so.1")
    assert made is not None
    assert made.target == str((system / "opt/three/libz.so.1").readlink())
    assert ours.read("etc/ld.so.cache") == (system / "etc/ld.so.cache").read_bytes()


def _glibc_package() -> str | None:
    if shutil.which("dpkg-query") is None:
        return None
    words = ["dpkg-query", "--show", "--showformat=${Version}", "libc-bin"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def test_a_string_may_end_another() -> None:
    made = cache([Library(name="libx.so", path="/lib/libx.so", flags=0x303)], version="2.36-9")
    assert made.count(b"libx.so") == 1
    assert made.startswith(b"glibc-ld.so.cache1.1")


def test_every_model_in_the_table_exists_and_is_used() -> None:
    used = {name for names in (TABLE | SYSTEM).values() for name in names}
    assert used == set(MODELS)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in TABLE | SYSTEM)
    assert not TABLE.keys() & SYSTEM.keys()


def test_a_script_is_known_by_its_text(tmp_path: Path) -> None:
    def made(text: str, version: str) -> str:
        path = small_debs.deb(tmp_path, "p", scripts={"postinst": text}, version=version)
        return identity(read_control(path), "postinst")

    text = "#!/bin/sh\n# Automatically added by dh_installdeb/13.{}\n[ $ver != {} ] || x {}0\n# End\n"
    one = made(text.format("11.4", "2.36-9+deb12u14", "2.36"), "2.36-9+deb12u14")
    assert made(text.format("24", "2.36-9+deb12u15", "2.36"), "2.36-9+deb12u15") == one
    assert made(text.format("24", "2.36-9+deb12u14", "2.36"), "2.36-9+deb12u15") != one
    assert made(text.format("24", "2.36-9+deb12u15", "2.37"), "2.36-9+deb12u15") != one
    assert made("exit 1", "1") != made("exit 2", "2")
    assert made("x 2.1", "2.1") == made("x 2.2", "2.2")
    assert made("x 2.10 $2.1", "2.1") != made("x 2.20 $2.2", "2.2")


def test_a_package_without_scripts_is_known(tmp_path: Path) -> None:
    control = read_control(small_debs.deb(tmp_path, "p", scripts={"prerm": "exit 1\n"}))
    assert unknown_script(control) is None
    assert models_of(control, "postinst") == ()
    odd = read_control(small_debs.deb(tmp_path, "q", scripts={"config": "#!/bin/sh\n", "preinst": "exit 1\n"}))
    assert unknown_script(odd) == "config"


def test_reading_scripts() -> None:
    script = "if x; then\n\tua --install /a a \\\n\t  --slave '/b c' b >/dev/null || true\nfi\nnot-ua --install\n"
    assert commands(script, program="ua") == [["--install", "/a", "a", "--slave", "/b c", "b"]]
    assert here_document("cat > /x <<-'EOF'\n\tone\n\ttwo\n\tEOF\nthree", after="cat > /x ") == "one\ntwo\n"
    assert here_document("cat > /x <<END\n\tone\nEND\n", after="cat > /x ") == "\tone\n"
