"""What every backend must make the same of: steps over a small base, and their image by one backend or another.

Run as a program (`python -m contract.cases BASE STORE WAY`), it prints what a user who is not this one gets.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from executed.bases import Step, plan_of, put_base

from builder import sandbox
from builder.backends import Backend, Execution, assemble, backend
from builder.errors import CogsmithError
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.report import Quiet, Report
from builder.store import Store

SECRET = b"s3cr3t-of-the-contract"
LONG = "0123456789" * 12

# Of the base: deleted, replaced, a folder by a file, a folder by another of the same name, a mode, an owner.  And new:
# links, names, a sparse file, a pipe, empty folders, set-uid and sticky bits, times, an odd link.
FILES = f"""set -e
rm /srv/kept; echo new > /etc/motd; rm -r /srv/data; echo now-a-file > /srv/data; chmod 711 /root
chown 12:34 /usr/bin/yes; rm -r /var; mkdir /var; touch -d @1000000000 /usr/bin/env
mkdir -p /new/empty /new/deep; cd /new; echo 1 > a; ln a b; ln a deep/c; ln -s ../x//y l; ln -s /nowhere d
echo > {LONG}; mkdir -p {LONG}d/{LONG}d; echo > {LONG}d/{LONG}d/{LONG}; echo > 'ünï cødé → 名前'
truncate -s 5000000 sparse; echo x >> sparse; mkfifo -m 640 pipe; chmod 6755 a; mkdir -m 1777 sticky
touch -d @4000000000 future; touch -d @86400 past; chown 65534:65534 past; : > empty-file
"""
# What the step before did, undone or done again; a folder of the base moved, names of a file parted.
BACK = """set -e
rm /srv/data; mkdir /srv/data; echo 1 > /srv/data/one; mv /srv /moved; rm /new/b; echo 2 > /new/deep/c
rmdir /new/empty; rm -r /new/sticky; ln -s /etc /new/sticky; mv /new/l /new/empty; rm /new/pipe; mkdir /new/pipe
"""
USERS = """set -e
groupadd -g 700 crew; useradd -m -u 1701 -g crew -G staff sailor; cd /home/sailor; chmod 2770 .
echo > log; chown sailor:crew log; chmod 4711 log; groupadd -r service; id sailor > /id
"""
COMPILED = """set -e
mkdir -p /opt/bin; cd /tmp
echo 'int puts(const char*); int main(void) { return puts("compiled") < 0; }' > p.c
gcc -O1 -o /opt/bin/p p.c; /opt/bin/p > /opt/said; rm p.c
cp /opt/bin/p /opt/bin/q; setcap cap_net_raw+ep /opt/bin/q; ln /opt/bin/q /opt/bin/r
"""
# What a step sees of the machine: the same everywhere, as far as it can be written down.  And what it leaves running.
WORLD = """
wc -c < /run/secrets/t > /size; stat -c %a:%u:%g /run/secrets/t > /mode; env | sort > /env
id -u > /who; id -G > /groups; umask > /umask; pwd > /pwd; cat /proc/sys/kernel/hostname /etc/hostname > /host
cat /etc/hosts /etc/resolv.conf > /net; grep -c : /proc/net/dev > /devices; ls /run/cogsmith/bin > /pip
cat > /stdin; (setsid sleep 300 &); mkdir /usr/lib/__pycache__; echo > /usr/lib/__pycache__/x.pyc
"""

STEPS: dict[str, Step] = {
    "files": Step(FILES),
    "back": Step(BACK),
    "users": Step(USERS),
    "compiled": Step(COMPILED),
    "world": Step(WORLD, secrets={"t": "/run/secrets/t"}, network="none"),
}


@dataclasses.dataclass(frozen=True)
class Way:
    """A backend, with settings of its own, as root or as an ordinary user."""

    backend: str
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ordinary: bool = False

    def __str__(self) -> str:
        words = [self.backend, *self.settings.values(), "ordinary" if self.ordinary else "root"]
        return "-".join(words).replace("/", "_")


def plan(tar: bytes, store: Store) -> Plan:
    return plan_of(put_base(store, tar), *STEPS.values())


def execution(way: Way, *, fresh: bool = False) -> Execution:
    return Execution(secrets={"t": SECRET}, settings=way.settings, fresh=fresh)


def make(
    wanted: Plan, *, way: Way, store: Store, report: Report | None = None, given: Execution | None = None
) -> list[PackedLayer]:
    """The layers of a plan, by the backend of `way`."""
    module: Backend = backend(way.backend)
    made = module.make(
        wanted, store=store, local={}, fetch=lambda _: {}, threads=2, report=report or Quiet(),
        execution=given or execution(way),
    )  # fmt: skip
    return list(made)


def image(tar: bytes, folder: Path, *, way: Way) -> dict[str, Any]:
    """The manifest digest of the image of all `STEPS`, and what is in each layer; or why it cannot be made here."""
    with Store.open(folder) as store:
        wanted = plan(tar, store)
        missing = backend(way.backend).check(wanted)
        if missing:
            return {"absent": "\n".join(missing)}
        try:
            layers = make(wanted, way=way, store=store)
        except CogsmithError as problem:
            if "cannot run on this machine" in problem.brief:
                return {"absent": problem.details}
            raise
        stored = assemble.image(wanted, layers=layers, store=store, name="contract")
        held = {name: members(layer, store=store) for name, layer in zip(STEPS, layers[1:], strict=True)}
        return {"digest": stored.digest, "layers": held}


def members(layer: PackedLayer, *, store: Store) -> dict[str, list[Any]]:
    """All that a layer says of each of its members, content by hash: two of them are compared by reading them."""
    found: dict[str, list[Any]] = {}
    with tarfile.open(store.blob_path(layer.digest)) as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            content = hashlib.sha256(file.read()).hexdigest()[:12] if file is not None else info.linkname
            xattrs = sorted(key for key in info.pax_headers if "xattr" in key)
            words = [oct(info.mode), info.uid, info.gid, info.mtime, info.type.decode(), info.size, content, xattrs]
            found[info.name] = words
    return found


if __name__ == "__main__":
    asked = json.loads(sys.argv[3])
    place = Path(sys.argv[2])
    os.umask(0o077)  # what the user prefers is nothing to an image
    told = image(Path(sys.argv[1]).read_bytes(), place, way=Way(**asked))
    sandbox.remove_tree(place)
    print(json.dumps(told))
