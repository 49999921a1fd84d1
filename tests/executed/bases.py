"""A base image made of this machine's own programs, and plans of commands over it."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.backends import Execution, embedded
from builder.compile import COMMAND_BIN
from builder.oci import PackedLayer
from builder.plan import (
    CODECS,
    BaseLayer,
    Compression,
    ImageConfig,
    Layer,
    Network,
    Plan,
    RunLayer,
    SecretMount,
    chain_link,
)
from builder.report import Quiet, Report
from builder.store import Store

EPOCH = 1735689600
PROGRAMS = """cat chgrp chmod chown cp dd env find grep groupadd head id ln ls mkdir mkfifo mknod mktemp mv rm rmdir sed
sh sleep sort stat tail tar touch tr truncate useradd wc yes setsid mount umount""".split()  # noqa: SIM905
COMPILER = ("gcc", "as", "ld")
ENV = (
    ("HOME", "/root"),
    ("PATH", f"/usr/local/bin:{COMMAND_BIN}:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("SOURCE_DATE_EPOCH", str(EPOCH)),
)
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nstaff:x:50:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\n",
    "etc/login.defs": "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\n",
    "etc/motd": "welcome\n",
    "srv/data/one": "1\n",
    "srv/data/two": "2\n",
    "srv/kept": "kept\n",
}


def needed(program: str) -> list[str]:
    """A program of this machine, with what the loader wants for it."""
    path = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if path is None:
        return []
    told = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    return [path, *re.findall(r"(/\S+) \(0x", told)]


def compiler_files() -> list[str]:
    """What gcc needs to compile and link a C program that includes nothing."""
    files = (
        "liblto_plugin.so crt1.o Scrt1.o crti.o crtn.o crtbegin.o crtbeginS.o crtend.o crtendS.o libgcc.a libgcc_s.so"
    )
    more = "libc.so libc_nonshared.a libgcc_s.so.1 libc.so.6"
    found = [answer(f"-print-prog-name={name}") for name in ("cc1", "collect2")]
    found += [answer(f"-print-file-name={name}") for name in f"{files} {more}".split()]
    found.append("/usr/include/stdc-predef.h")
    found = [path for path in found if "/" in path]
    for path in [*found]:
        found += [] if path.endswith((".o", ".a", ".h", "libc.so", "libgcc_s.so")) else needed(path)
    return found


def answer(question: str) -> str:
    return subprocess.run(["gcc", question], capture_output=True, text=True, check=True).stdout.strip()


def base_tar(*, compiler: bool = False) -> bytes:
    """The layer: programs and their libraries where they are here, links of a merged /usr, and a few files."""
    paths = {path for program in PROGRAMS for path in needed(program)}
    if compiler:
        paths |= {path for program in COMPILER for path in needed(program)} | set(compiler_files())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("bin", "lib", "lib64", "sbin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname, link.mtime = tarfile.SYMTYPE, f"usr/{name}", EPOCH
            tar.addfile(link)
        for name, mode in (("tmp", 0o1777), ("root", 0o700), ("etc", 0o755), ("run", 0o755), ("var", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, mode, EPOCH
            tar.addfile(folder)
        for name, text in ACCOUNTS.items():
            add(tar, name, text.encode(), mode=0o640 if "shadow" in name else 0o644, gid=42 if "shadow" in name else 0)
        done: set[str] = set()
        for path in sorted(paths):
            place = re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", str(Path(path).parent.resolve() / Path(path).name))
            if place not in done:
                add(tar, place.lstrip("/"), Path(path).read_bytes(), mode=0o755)
                done.add(place)
    return stream.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes, *, mode: int, gid: int = 0) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.gid, info.mtime = len(data), mode, gid, EPOCH - 1000
    tar.addfile(info, io.BytesIO(data))


def put_base(store: Store, tar: bytes) -> BaseLayer:
    digest = store.put(tar)  # uncompressed: the diff id is the digest
    return BaseLayer(digest=digest, diff_id=digest, size=len(tar), media_type="application/vnd.oci.image.layer.v1.tar")


@dataclasses.dataclass(frozen=True)
class Step:
    """A command, as cog.yaml says it."""

    command: str
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    network: Network = "host"


def plan_of(
    base: BaseLayer,
    *steps: Step | str,
    env: Sequence[tuple[str, str]] = (),
    epoch: int = EPOCH,
    compression: Compression = "gzip",
) -> Plan:
    layers: list[Layer] = [base]
    for item in steps:
        step = Step(item) if isinstance(item, str) else item
        layers.append(
            RunLayer(
                command=step.command,
                secrets=tuple(SecretMount(id=name, target=target) for name, target in step.secrets.items()),
                network=step.network,
                env=(*ENV, *env),
                below=tuple(chain_link(layer) for layer in layers),
                epoch=epoch,
            )
        )
    config = ImageConfig(env=ENV, entrypoint=(), cmd=(), working_dir="/", exposed_ports=(), labels=())
    return Plan(
        platform="linux/amd64", epoch=epoch, layers=tuple(layers), config=config, compression=compression,
        codec=CODECS[compression],
    )  # fmt: skip


def make(
    plan: Plan, *, store: Store, report: Report | None = None, execution: Execution | None = None
) -> list[PackedLayer]:
    """The layers that the commands made."""
    made = embedded.make(
        plan, store=store, local={}, fetch=lambda _: {}, threads=2, report=report or Quiet(), execution=execution
    )
    return list(made[1:])


def tar_of(layer: PackedLayer, *, store: Store) -> dict[str, tarfile.TarInfo]:
    """The members of a layer by name."""
    with tarfile.open(store.blob_path(layer.digest)) as tar:
        return {member.name: member for member in tar}


def content(layer: PackedLayer, name: str, *, store: Store) -> bytes:
    with tarfile.open(store.blob_path(layer.digest)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


class Lines(Quiet):
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)
