"""System packages by Nix: unpacked and configured without running anything, to the digest of their installation."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import small_debs
from small_nix import EPOCH, Small, remove, sha256

from builder import sandbox
from builder.errors import BackendError, LayerError
from builder.oci import PackedLayer
from builder.plan import Deb, DebianLayer, PackagesLayer, Plan, Remote, chain_link, layer_key
from builder.store import Store

# Of Debian's `less`: over a base that has another pager.
PAGER = """#!/bin/sh

set -e

case "$1" in
  configure)
    update-alternatives --quiet --install /usr/bin/pager pager \\
      /usr/bin/less 77 --slave /usr/share/man/man1/pager.1.gz \\
      pager.1.gz /usr/share/man/man1/less.1.gz
  ;;
  abort-upgrade|abort-remove|abort-deconfigure)
  ;;
  *)
    echo "postinst called with unknown argument \\`$1'" >&2
    exit 0
  ;;
esac



exit 0
"""


def over_the_base(small: Small, debs: list[Path]) -> Plan:
    """A plan of the packages over a real Debian base, and the project's code."""
    base = DebianLayer(suite="bookworm", architecture="amd64", debs=small.debian.debs, epoch=EPOCH)
    packages = tuple(
        Deb(package=path.name.split("_")[0], version="1.0", architecture="amd64", filename=path.name,
            size=path.stat().st_size, sha256=sha256(path))
        for path in debs
    )  # fmt: skip
    layer = PackagesLayer(requested=("tiny",), debs=packages, below=(chain_link(base),), epoch=EPOCH)
    plan = small.plan()
    own = [Remote(sha256=deb.sha256, size=deb.size, name=deb.filename, urls=()) for deb in packages]
    return dataclasses.replace(plan, layers=(base, layer, plan.layers[-1]), remotes=(*own, *small.remotes.values()))


def test_to_the_digest_of_their_installation(small: Small, store: Store, tmp_path: Path) -> None:
    problems = sandbox.check(scratch=tmp_path / "probe", ids="full")
    if problems:
        pytest.skip(f"this machine cannot run commands: {problems[0]}")
    folder = small.folder / ".debs"
    page = ("./usr/share/man/man1/less.1.gz", "file", "page")
    less = small_debs.deb(
        folder, "tiny", [("./usr/bin/less", "exec", "#!/bin/sh\n"), page], scripts={"postinst": PAGER}
    )
    triggers = {"triggers": "activate-noawait ldconfig\n", "conffiles": "/etc/lib.conf\n"}
    library = [
        ("./etc/lib.conf", "file", "x"),
        ("./usr/lib/x/", "dir", ""),
        ("./usr/lib/x/y", "symlink", "/etc/lib.conf"),
    ]
    plan = over_the_base(small, [less, small_debs.deb(folder, "libx", library, scripts=triggers)])
    with Store.open(tmp_path / "embedded") as other:
        made = small.embedded(plan, other)
        base = other.blob_path(made[0].digest)
        store.adopt(base, made[0].digest)
    known = small.locked(plan, made, first=0)
    fresh = tmp_path / "fresh"
    assert small.nix(known, store, nix_store=str(fresh)) == made
    assert store.has_blob(made[1].digest)

    # Another digest than theirs: nothing is made.
    key = layer_key(plan.layers[1], compression="gzip", codec=plan.codec)
    wrong = tuple(
        dataclasses.replace(one, digest="sha256:" + "e" * 64) if one.key == key else one for one in known.locked
    )
    with pytest.raises(LayerError) as caught:
        small.nix(dataclasses.replace(known, locked=wrong), store, nix_store=str(fresh))
    assert caught.value.brief == (
        "the layer `apt-get install tiny` comes out otherwise where its packages' scripts are not run"
    )
    assert made[1].digest in str(caught.value.details)
    remove(fresh)
    sandbox.remove_tree(tmp_path / "embedded")


def test_a_script_that_is_not_known(small: Small, store: Store) -> None:
    script = {"postinst": "#!/bin/sh\ntouch /x\n"}
    plan = over_the_base(small, [small_debs.deb(small.folder / ".debs", "odd", scripts=script)])
    digest = "sha256:" + hashlib.sha256(b"").hexdigest()
    packed = PackedLayer(digest=digest, diff_id=digest, size=0, media_type="")
    plan = small.locked(plan, [packed] * 3, first=0)
    with pytest.raises(BackendError) as caught:
        small.nix(plan, store)
    assert "apt-get install tiny (scripts that have to be run: odd postinst)" in str(caught.value.details)
    assert "--backend embedded" in str(caught.value.hint)
