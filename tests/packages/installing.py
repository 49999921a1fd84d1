"""Installs packages over a base in a store of its own and prints the layer: for a user who is not this one."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from builder import sandbox
from builder.backends import Execution, embedded
from builder.oci import PackedLayer
from builder.plan import BaseLayer, Deb, ImageConfig, PackagesLayer, Plan, chain_link
from builder.report import Quiet
from builder.store import Store

EPOCH = 1735689600


def plan_of(base: BaseLayer, debs: list[Deb]) -> Plan:
    """The packages over the base."""
    layer = PackagesLayer(requested=("demo",), debs=tuple(debs), below=(chain_link(base),), epoch=EPOCH)
    image = ImageConfig(env=(), entrypoint=(), cmd=(), working_dir="/", exposed_ports=(), labels=())
    return Plan(platform="linux/amd64", epoch=EPOCH, layers=(base, layer), config=image)


def install(folder: Path, store: Store) -> PackedLayer:
    """Install what `give` left in `folder`."""
    given = json.loads((folder / "given.json").read_text())
    base = BaseLayer(**given["base"])
    debs = [Deb(**deb) for deb in given["debs"]]
    if not store.has_blob(base.digest):
        store.put((folder / "base").read_bytes())
    local = {deb.sha256: folder / deb.sha256 for deb in debs}
    plan = plan_of(base, debs)
    return embedded.make(
        plan, store=store, local=local, fetch=lambda _: {}, threads=2, report=Quiet(), execution=Execution(fresh=True)
    )[-1]


def give(folder: Path, *, base: BaseLayer, debs: list[Deb], store: Store) -> None:
    """Put a base and packages of `store` where `install` finds them."""
    folder.mkdir()
    plain = {"base": dataclasses.asdict(base), "debs": [dataclasses.asdict(deb) for deb in debs]}
    (folder / "given.json").write_text(json.dumps(plain))
    (folder / "base").write_bytes(store.read_blob(base.digest))
    for deb in debs:
        (folder / deb.sha256).write_bytes(store.file_path(deb.sha256).read_bytes())


if __name__ == "__main__":
    place = Path(sys.argv[2])
    with Store.open(place) as opened:
        print(json.dumps(install(Path(sys.argv[1]), opened).digest))
    sandbox.remove_tree(place)
