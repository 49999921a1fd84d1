"""The archives of an image's own sources: found, verified by the keys that the image trusts for each, or left out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pysequoia
import pytest
import small_debs

from builder.backends import asked
from builder.compile import base_plan
from builder.errors import ResolveError, SandboxError
from builder.resolve.apt import choose
from builder.resolve.apt.archives import Archives, image_archives
from builder.resolve.apt.sources import image_sources
from builder.store import Store

from .conftest import FilesImage, HostImage, Lines, Mirror, base_of

Serve = Callable[..., str]
NOWHERE = "http://127.0.0.1:9"


def certificate(key: pysequoia.Tsk) -> bytes:
    return bytes(key.extract_certificate())


def armored(key: pysequoia.Tsk) -> str:
    return str(key.extract_certificate())


def read(image: FilesImage, *, store: Store, report: Lines, debian: tuple[str, ...] = (), ubuntu: tuple[str, ...] = ()):
    return image_archives(
        image, architecture="amd64", debian=debian, ubuntu=ubuntu, store=store, report=report, now=None
    )


def test_both_forms_of_sources(key: pysequoia.Tsk) -> None:
    inline = "\n".join(f" {line or '.'}" for line in armored(key).splitlines())
    image = FilesImage(
        {
            "etc/apt/sources.list": b"# comment\ndeb http://a.example/ubuntu noble main universe # more\n"
            b"deb-src http://a.example/ubuntu noble main\ndeb cdrom:[x]/ noble main\n"
            b"deb [arch=amd64,i386 signed-by=/usr/share/keyrings/n.gpg trusted=yes] https://n.example/cuda /\n"
            b"deb http://a.example/ubuntu/ noble multiverse\n",
            "etc/apt/sources.list.d/d.sources": b"Types: deb deb-src\nURIs: http://d.example/debian\n"
            b"Suites: trixie trixie-updates\nComponents: main\n  contrib\nSigned-By:\n" + inline.encode() + b"\n\n"
            b"Types: deb\nURIs: http://off.example/\nSuites: x/\nEnabled: no\n",
            "etc/apt/sources.list.d/ignored.save": b"deb http://ignored.example/ x main\n",
            "etc/apt/trusted.gpg.d/one.asc": armored(key).encode(),
            "usr/share/keyrings/n.gpg": certificate(key),
        }
    )
    found = image_sources(image)
    assert [(source.uri, source.suite, source.components) for source in found] == [
        ("http://a.example/ubuntu", "noble", ("main", "universe", "multiverse")),
        ("https://n.example/cuda", "/", ()),
        ("http://d.example/debian", "trixie", ("main", "contrib")),
        ("http://d.example/debian", "trixie-updates", ("main", "contrib")),
    ]
    assert [source.flat for source in found] == [False, True, False, False]
    assert found[1].architectures == ("amd64", "i386")
    for source in found:
        certs = pysequoia.Cert.split_bytes(source.keys)
        assert {cert.fingerprint for cert in certs} == {key.extract_certificate().fingerprint}


@pytest.mark.parametrize(
    ("second", "architectures"), [("[arch=amd64] ", ("i386", "amd64")), ("", ()), ("[arch=i386] ", ("i386",))]
)
def test_an_archive_that_two_entries_name(second: str, architectures: tuple[str, ...]) -> None:
    text = f"deb [arch=i386] http://a.example/u noble main\ndeb {second}http://a.example/u noble universe\n"
    (source,) = image_sources(FilesImage({"etc/apt/sources.list": text.encode()}))
    assert (source.components, source.architectures) == (("main", "universe"), architectures)


def test_a_mirror_near_by_and_a_flat_archive(
    tmp_path: Path, mirror: Mirror, serve: Serve, key: pysequoia.Tsk, store: Store, host: Callable[..., HostImage]
) -> None:
    mirror.add("tool", Depends="libcuda1", suite="noble")
    mirror.sign()
    other = pysequoia.Tsk.generate("Vendor <v@example.org>")
    vendor = tmp_path / "vendor"
    (vendor / "pool").mkdir(parents=True)
    path = small_debs.deb(vendor / "pool", "libcuda1", version="5.0")
    index = small_debs.paragraph(path, "./pool").encode()
    (vendor / "Packages").write_bytes(index)
    text = f"Origin: Vendor\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    signed = pysequoia.sign(other.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR)
    (vendor / "InRelease").write_bytes(bytes(signed))
    url = serve(vendor)
    image = host(there="1.0")
    image.files |= {
        "etc/apt/sources.list": f"deb {NOWHERE}/ubuntu noble main\ndeb [signed-by=/v.asc] {url} /\n".encode(),
        "etc/apt/trusted.gpg.d/u.gpg": certificate(key),
        "v.asc": armored(other).encode(),
    }
    report = Lines()
    archives = read(image, store=store, report=report, ubuntu=(mirror.url,))
    debs, remotes = choose(
        ["tool"], base=base_of({}), image=lambda: image, archives=archives, keep={}, store=store, report=report
    )
    assert [deb.package for deb in debs] == ["libcuda1", "tool"]
    by_name = {remote.name: remote.urls for remote in remotes}
    assert by_name["tool_1.0_amd64.deb"] == (
        f"{mirror.url}/pool/tool_1.0_amd64.deb",
        f"{NOWHERE}/ubuntu/pool/tool_1.0_amd64.deb",
    )
    assert by_name["libcuda1_5.0_amd64.deb"] == (f"{url}/pool/libcuda1_5.0_amd64.deb",)
    assert report.lines == []


def test_somebody_elses_archive_of_the_same_name(
    tmp_path: Path, mirror: Mirror, serve: Serve, key: pysequoia.Tsk, store: Store
) -> None:
    """A vendor calls its archive `/linux/ubuntu`, and its suite `noble`: what Ubuntu's mirror has is not it."""
    mirror.add("tool", suite="noble")
    mirror.sign()
    own = pysequoia.Tsk.generate("Vendor <v@example.org>")
    (tmp_path / "linux" / "ubuntu").mkdir(parents=True)
    vendor = Mirror(tmp_path / "linux" / "ubuntu", serve(tmp_path) + "/linux/ubuntu", own)
    vendor.add("vendors", suite="noble")
    vendor.sign()
    image = FilesImage(
        {
            "etc/apt/sources.list": f"deb [signed-by=/v.gpg] {vendor.url} noble main\n".encode(),
            "v.gpg": certificate(own),
        }
    )
    archives = read(image, store=store, report=Lines(), ubuntu=(mirror.url,))
    assert archives.names() == ["vendors"]


def test_what_cannot_be_had_and_what_is_not_signed(mirror: Mirror, key: pysequoia.Tsk, store: Store) -> None:
    mirror.add("tool", suite="noble")
    mirror.sign()
    lines = f"deb {mirror.url}/ noble main\ndeb {NOWHERE}/gone noble main\n"
    trusted = {"etc/apt/trusted.gpg.d/u.gpg": certificate(key)}
    report = Lines()
    archives = read(FilesImage({"etc/apt/sources.list": lines.encode(), **trusted}), store=store, report=report)
    assert archives.has("tool")
    assert report.lines == [f"no index of `noble` of {NOWHERE}/gone can be had: its packages are left out"]

    stranger = {"etc/apt/trusted.gpg.d/u.gpg": certificate(pysequoia.Tsk.generate("Other <o@example.org>"))}
    with pytest.raises(ResolveError, match="the signature of"):
        read(FilesImage({"etc/apt/sources.list": lines.encode(), **stranger}), store=store, report=Lines())
    with pytest.raises(ResolveError, match="none of the base image's sources"):
        gone = f"deb {NOWHERE}/gone noble main\n"
        read(FilesImage({"etc/apt/sources.list": gone.encode(), **trusted}), store=store, report=Lines())
    with pytest.raises(ResolveError, match="no sources of packages"):
        read(FilesImage({}), store=store, report=Lines())


def test_foreign_architectures_of_an_image(mirror: Mirror, key: pysequoia.Tsk, store: Store) -> None:
    image = FilesImage({"var/lib/dpkg/arch": b"amd64\ni386\n"})
    mirror.add("tool", suite="noble")
    mirror.sign()
    image.files |= {
        "etc/apt/sources.list": f"deb [arch=amd64] {mirror.url} noble main\n".encode(),
        "etc/apt/trusted.gpg.d/u.gpg": certificate(key),
    }
    archives: Archives = read(image, store=store, report=Lines())
    assert archives.architectures == ("amd64", "i386")
    assert list(archives.archives[0].indexes) == ["main/binary-amd64/Packages"]


def test_a_machine_that_cannot_run_the_images_programs(store: Store) -> None:
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    if Path(f"/proc/sys/fs/binfmt_misc/qemu-{'aarch64' if other == 'arm64' else 'x86_64'}").exists():
        pytest.skip(f"this machine runs {other} as well")
    plan = base_plan(base_of({}), platform=f"linux/{other}", remotes=(), epoch=0)
    with pytest.raises(SandboxError, match="system packages cannot be resolved on this machine") as caught:
        asked.check(plan, store=store)
    assert other in (caught.value.details or "")
    assert "`cogsmith lock` on a machine that can" in (caught.value.hint or "")
