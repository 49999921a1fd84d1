"""Real packages of Debian over a real base: chosen by its apt, installed by its dpkg, the same by root and others."""

from __future__ import annotations

import datetime as dt
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder import sandbox
from builder.backends.asked import UnpackedImage
from builder.compile import base_plan
from builder.engine.unpack import unpack_all
from builder.fetch import ensure
from builder.layers.delta import DBUS_ID
from builder.lock import DebianBase
from builder.oci import PackedLayer
from builder.plan import BaseLayer, Deb
from builder.report import Quiet
from builder.resolve.apt import choose
from builder.resolve.apt.archives import image_archives
from builder.resolve.debian import host_mirrors, resolve_debian
from builder.store import Store

from .installing import EPOCH, give, install

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]

WANTED = ("dbus", "fontconfig", "file")
"""Users and groups, a random id, caches of fonts, a library: what scripts of packages do."""


@pytest.fixture(scope="module")
def shared_store(shared: Path) -> Iterator[Store]:
    """The store that the whole run shares: the base is made once."""
    problems = sandbox.check(scratch=shared / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run programs of an image: {problems[0]}")
    with Store.open(shared / "cache" / "cogsmith") as store:
        yield store


@pytest.fixture(scope="module")
def given(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Deb]]:
    """A folder with the base and the packages that its own apt chose, through the sources that it holds itself."""
    from builder.backends import embedded

    mirrors = host_mirrors(Path("/etc/apt"))
    if not mirrors:
        pytest.skip("/etc/apt names no Debian mirror")
    asked: dict[str, Any] = {"store": shared_store, "report": Quiet(), "now": dt.datetime.now(dt.UTC)}
    base, _, remotes = resolve_debian(suite="bookworm", architecture="amd64", mirrors=mirrors, **asked)
    (layer,) = embedded.make(
        base_plan(base, platform="linux/amd64", remotes=remotes, epoch=EPOCH),
        store=shared_store,
        local={},
        fetch=lambda wanted: ensure(wanted, store=shared_store, report=Quiet()),
        threads=2,
        report=Quiet(),
    )
    image = UnpackedImage([layer], store=shared_store, report=Quiet())
    archives = image_archives(image, architecture="amd64", debian=mirrors, ubuntu=(), **asked)
    assert [archive.suite for archive in archives.archives] == ["bookworm", "bookworm-updates", "bookworm-security"]
    foreign = DebianBase(suite="bookworm", architecture="amd64", debs=())
    debs, found = choose(
        WANTED, base=foreign, image=lambda: image, archives=archives, keep={}, store=shared_store, report=Quiet()
    )
    ensure(found, store=shared_store, report=Quiet())
    plain = BaseLayer(digest=layer.digest, diff_id=layer.diff_id, size=layer.size, media_type=layer.media_type)
    folder = tmp_path_factory.mktemp("packages") / "given"
    give(folder, base=plain, debs=list(debs), store=shared_store)
    return folder, list(debs)


def test_installed_and_usable(
    given: tuple[Path, list[Deb]], shared_store: Store, tmp_path: Path, ordinary: Any
) -> None:
    folder, debs = given
    names = {deb.package for deb in debs}
    assert {*WANTED, "libmagic1", "libfontconfig1", "fonts-dejavu-core"} <= names
    assert "libc6" not in names
    layer = install(folder, shared_store)
    with tarfile.open(shared_store.blob_path(layer.digest)) as tar:
        members = {member.name: member for member in tar}
        text = {
            name: (file.read() if (file := tar.extractfile(members[name])) else b"")
            for name in ("var/lib/dbus/machine-id", "var/lib/dpkg/status", "etc/passwd")
        }
    assert text["var/lib/dbus/machine-id"] == DBUS_ID
    assert b"messagebus:x:" in text["etc/passwd"]
    assert text["var/lib/dpkg/status"].count(b"Status: install ok installed\n") > len(debs) + 100
    launcher = members["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]
    assert (launcher.mode, launcher.uid) == (0o4754, 0)
    assert launcher.gid
    gone = ("etc/passwd-", "usr/sbin/policy-rc.d", "var/cache/ldconfig/aux-cache", "var/lib/dpkg/status-old")
    assert not [name for name in members if name in gone or "__pycache__" in name or name.startswith("run/")]
    assert not [name for name in members if name.startswith(("var/log/", "var/lib/apt/lists/", "var/cache/debconf/"))]
    command = "file -b /bin/sh && fc-match --format='%{family}' sans && dbus-uuidgen --get && dpkg --audit"
    below = unpack_all(_stack(folder, layer), store=shared_store, report=Quiet(), full=True)
    spec = sandbox.Spec(
        root=sandbox.Overlay(lower=tuple(below)),
        argv=("/bin/sh", "-c", command),
        scratch=tmp_path / "sandbox",
        env=(("PATH", "/usr/bin:/bin"),),
        network="none",
        ids="full",
    )
    with (tmp_path / "out").open("wb") as out:
        assert sandbox.run(spec, stdin=sandbox.DEVNULL, stdout=out) == 0
    said = (tmp_path / "out").read_text().splitlines()
    assert said == ["symbolic link to dash", f"DejaVu Sans{DBUS_ID.decode().strip()}"]

    theirs = ordinary.give(Path(__file__).parent, "tests-of-packages/packages")
    mine = ordinary.give(folder, "given")
    done = ordinary.run(
        *("-m", "packages.installing", str(mine), str(ordinary.home / "packages-store")),
        cwd=theirs.parent,
        timeout=300,
    )
    if "subuid" in done.stderr or "uidmap" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == layer.digest


def _stack(folder: Path, layer: Any) -> list[Any]:
    base = json.loads((folder / "given.json").read_text())["base"]
    return [PackedLayer(**{name: base[name] for name in ("digest", "diff_id", "size", "media_type")}), layer]
