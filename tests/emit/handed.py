"""A small project, as it is handed to other tools: its lock, its plan, its files."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from builder.compile import compile_plan
from builder.config import Command, Config, Mount
from builder.emit.context import Packed, context
from builder.emit.files import Emitted
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import BaseLayer, Deb, Entry, Interpreter, Remote, Wheel

CONFIG = Config(
    python_version="3.11",
    run="run.py:Runner",
    system_packages=("ffmpeg",),
    commands=(
        Command(command="echo one"),
        Command(command="cat > /x <<EOF\n# not a comment\nEOF\n"),
        Command(command="cat /t", mounts=(Mount(type="secret", id="my token", target="/t"),)),
    ),
)
IMAGE = ImageBase(
    reference="registry.example:5000/python:3.11-slim",
    digest="sha256:" + "d" * 64,
    media_type="application/vnd.oci.image.manifest.v1+json",
    size=1,
    layers=(BaseLayer(digest="sha256:" + "e" * 64, diff_id="sha256:" + "f" * 64, size=1, media_type="m"),),
    user="app",
)
CODE = {
    "run.py": b"class Runner: ...\n",
    "a b/\u00fc \\ 'x'.txt": b"odd name",
    "README.md": b"of the project, to be kept",
    "Containerfile": b"of the project, too",
}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(name: str, data: bytes) -> Wheel:
    return Wheel(name=name, version="1.0", filename=f"{name}-1.0-py3-none-any.whl", size=len(data), sha256=sha(data))


def deb(name: str, version: str) -> Deb:
    digest = sha(f"{name}{version}".encode())
    return Deb(package=name, version=version, architecture="amd64", filename=f"p/{name}.deb", size=9, sha256=digest)


DEBS = (deb("ffmpeg", "7:5.1.6-0+deb12u1"), deb("libx", "1.0~rc1"))
WHEELS = (wheel("numpy", b"of an index"), wheel("local", b"of this machine"))
SERVER = (wheel("fastapi", b"of another index"),)
LOCK = Lock(
    config_hash="0" * 64,
    platform="linux/amd64",
    interpreter=Interpreter(path="/usr/bin/python3.11", version="3.11.2"),
    base=DebianBase(suite="bookworm", architecture="amd64", debs=()),
    wheels=WHEELS,
    runtime_version="1.2.3",
    runtime_wheels=SERVER,
    system_packages=DEBS,
    remotes=(
        Remote(sha256=WHEELS[0].sha256, size=1, name="numpy", urls=("https://index.example/numpy.whl#sha256=aa",)),
        Remote(sha256=WHEELS[1].sha256, size=1, name="local", urls=("file:///somewhere/local.whl",)),
        Remote(sha256=SERVER[0].sha256, size=1, name="fastapi", urls=("https://index.example/fastapi.whl",)),
        *(
            Remote(sha256=one.sha256, size=9, name=one.package, urls=(f"http://m.example/{one.filename}",))
            for one in DEBS
        ),
    ),
)


def with_base(base: ImageBase) -> Lock:
    return dataclasses.replace(LOCK, base=base)


def folder_of(place: Path, *, config: Config = CONFIG, lock: Lock = LOCK, **more: Any) -> list[Emitted]:
    """What is emitted; the files of the project lie in `place`."""
    files: dict[str, Path] = {}
    for data in (*CODE.values(), b"sdk", b"big", b"a base", *(b"of this machine", b"of an index", b"of another index")):
        (place / sha(data)).write_bytes(data)
        files[sha(data)] = place / sha(data)
    code = [Entry(path=name, size=len(data), sha256=sha(data)) for name, data in CODE.items()]
    code += [
        Entry(path="link", type="symlink", target="../x y", mode=0o777),
        Entry(path="empty", type="dir", mode=0o755),
    ]
    code += [Entry(path="tool.sh", size=8, sha256=sha(b"odd name"), mode=0o755)]
    plan = compile_plan(
        config,
        lock=lock,
        code=code,
        large=[Entry(path="weights/w.bin", size=3, sha256=sha(b"big"))],
        runtime=[Entry(path="cog/__init__.py", size=3, sha256=sha(b"sdk"))],
        schema={"info": {"description": "it's $HOME, \\ \" and # " * 3000}},
        version="1.2.3",
    )
    if isinstance(lock.base, DebianBase) and "base" not in more:
        more["packed"] = [Packed(name="debian.tar.gz", path=place / sha(b"a base"), sha256=sha(b"a base"))]
    return context(config, lock, plan=plan, files=files, **more)
