"""Prints the digests of what commands make over a base whose layer is a file: for a user who is not this one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from builder import sandbox
from builder.backends import Execution
from builder.store import Store

from .bases import Step, make, plan_of, put_base

ACCOUNT = """groupadd -g 700 crew; useradd -m -u 701 -g crew sailor; cd /home/sailor; chmod 2770 .; touch f; mkfifo p
chown 701:700 f; chmod 4711 f; ln f g"""
SECRET = "head -c 3 /run/secrets/t > /opt; id -G > /groups; umask > /umask; env | sort > /env"
STEPS = (
    "echo changed > /etc/motd; rm -r /srv/data; mkdir /srv/data; echo new > /srv/data/3; mkdir /e; : > /usr/bin/yes",
    ACCOUNT,
    Step(SECRET, secrets={"t": "/run/secrets/t"}),
    "mv /srv /moved; rm /etc/motd; ln -s ./../x//y /l; truncate -s 3000000 /sparse; echo x >> /sparse",
    "for i in 1 2 3 4 5 6 7 8 9; do mkdir -p /many/$i; for j in 1 2 3 4 5 6; do echo $i$j > /many/$i/$j; done; done",
)


def digests(tar: bytes, folder: Path, *, fresh: bool = False) -> list[str]:
    with Store.open(folder) as store:
        execution = Execution(secrets={"t": b"secret"}, fresh=fresh)
        return [layer.digest for layer in make(plan_of(put_base(store, tar), *STEPS), store=store, execution=execution)]


if __name__ == "__main__":
    place = Path(sys.argv[2])
    print(json.dumps(digests(Path(sys.argv[1]).read_bytes(), place)))
    sandbox.remove_tree(place)
