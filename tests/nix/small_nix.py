"""A small project, an image with a layer of every pure kind, and how Nix is asked to build it."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from builder import lock as locks
from builder.backends import Execution, assemble, embedded, nix, nix_tool
from builder.lock import DebianBase
from builder.oci import PackedLayer
from builder.plan import (
    BaseLayer,
    BytecodeLayer,
    Compiler,
    Deb,
    DebianLayer,
    Entry,
    FilesLayer,
    Generated,
    ImageConfig,
    Interpreter,
    Layer,
    Locked,
    Plan,
    Remote,
    RuntimeLayer,
    Wheel,
    WheelsLayer,
    layer_key,
)
from builder.report import Quiet, Report
from builder.store import Store

EPOCH = 1735689600
PYTHON = "3.11.2"


class Lines(Quiet):
    """A report that is kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    warn = note


@dataclasses.dataclass
class Small:
    """A project of a few files, what a machine knows of it, and where Nix builds it."""

    folder: Path
    nix_store: Path
    debian: DebianBase
    remotes: Mapping[str, Remote]
    files: Path
    """Downloads by sha256."""

    def __post_init__(self) -> None:
        self.downloads: list[str] = []

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> Entry:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return Entry(path=path, mode=mode, size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def entries(self) -> list[Entry]:
        found = []
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder).as_posix()
            if path.is_file() and not inside.startswith((".debs/", ".wheels/", ".runtime/")):
                data = path.read_bytes()
                found.append(Entry(path=inside, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
        return found

    def local(self) -> dict[str, Path]:
        return {
            hashlib.sha256(path.read_bytes()).hexdigest(): path for path in self.folder.rglob("*") if path.is_file()
        }

    def plan(self, *extra: Layer, **changes: object) -> Plan:
        wheels = tuple(
            Wheel(name=p.name.split("-")[0], version="1.0", filename=p.name, size=p.stat().st_size, sha256=sha256(p))
            for p in sorted((self.folder / ".wheels").iterdir())
        )
        debs = tuple(
            Deb(package="tiny", version="1.0~rc1", architecture="amd64", filename=p.name, size=p.stat().st_size,
                sha256=sha256(p))
            for p in sorted((self.folder / ".debs").iterdir())
        )  # fmt: skip
        one = WheelsLayer(prefix="/opt/venv", python="3.11", wheels=wheels, epoch=EPOCH)
        runtime = (self.folder / ".runtime" / "cog" / "__init__.py").read_bytes()
        interpreter = Interpreter(path="/usr/bin/python3.11", version=PYTHON)
        entry = Entry(path="cog/__init__.py", size=len(runtime), sha256=hashlib.sha256(runtime).hexdigest())
        names = {"python3.11-minimal", "libpython3.11-minimal", "libc6", "libexpat1", "zlib1g"}
        compilers = (
            Compiler(architecture="amd64", debs=tuple(deb for deb in self.debian.debs if deb.package in names)),
        )
        entries = self.entries()
        code = tuple(entry for entry in entries if entry.path != "weights.bin")
        weights = tuple(entry for entry in entries if entry.path == "weights.bin")
        layers: tuple[Layer, ...] = (
            BaseLayer(digest="sha256:" + "1" * 64, diff_id="sha256:" + "2" * 64, size=7, media_type="x"),
            DebianLayer(suite="bookworm", architecture="amd64", debs=debs, epoch=EPOCH),
            one,
            BytecodeLayer(version=PYTHON, of=one, compilers=compilers, epoch=EPOCH),
            RuntimeLayer(
                root="/opt/cogsmith", venv="/opt/venv", interpreter=interpreter, version="0", files=(entry,),
                generated=(Generated(path="/opt/note", text="ünï\n"),), wheels=(), epoch=EPOCH,
            ),
            FilesLayer(role="weights", root="/src", entries=weights, epoch=EPOCH),
            *extra,
            FilesLayer(role="code", root="/src", entries=code, epoch=EPOCH, generated=(Generated(path="x", text="y"),)),
        )  # fmt: skip
        config = ImageConfig(
            env=(("A", "b"),), entrypoint=(), cmd=("python",), working_dir="/src", exposed_ports=("5000/tcp",),
            labels=(("l", "ü"),), annotations=(("a", "b"),),
        )  # fmt: skip
        own = [
            Remote(sha256=w.sha256, size=w.size, name=w.filename, urls=(str(self.folder / ".wheels" / w.filename),))
            for w in wheels
        ]
        own += [
            Remote(sha256=d.sha256, size=d.size, name=d.filename, urls=(str(self.folder / ".debs" / d.filename),))
            for d in debs
        ]
        plan = Plan(
            platform="linux/amd64", epoch=EPOCH, layers=layers, config=config, remotes=(*own, *self.remotes.values())
        )
        return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]

    def fetch(self, remotes: Iterable[Remote]) -> dict[str, Path]:
        found = {}
        for remote in remotes:
            self.downloads.append(remote.name)
            own = [self.folder / folder / remote.name for folder in (".debs", ".wheels")]
            found[remote.sha256] = next((path for path in own if path.exists()), self.files / remote.sha256)
        return found

    def embedded(self, plan: Plan, store: Store) -> list[PackedLayer]:
        made = embedded.make(plan, store=store, local=self.local(), fetch=self.fetch, threads=2, report=Quiet())
        return list(made)

    def locked(self, plan: Plan, made: list[PackedLayer], *, first: int = 1) -> Plan:
        """The plan as a lock would have it: digests of all but the base, which is below `first`, and the code."""
        found = tuple(
            Locked(
                key=layer_key(layer, compression=plan.compression, codec=plan.codec),
                digest=packed.digest, diff_id=packed.diff_id, size=packed.size,
            )
            for layer, packed in zip(plan.layers[first:-1], made[first:-1], strict=True)
        )  # fmt: skip
        return dataclasses.replace(plan, locked=found)

    def execution(self, **settings: str) -> Execution:
        return Execution(
            settings={"nix_store": str(self.nix_store), **settings},
            debian=lambda: (self.debian.debs, list(self.remotes.values())),
        )

    def nix(self, plan: Plan, store: Store, *, report: Report | None = None, **settings: str) -> list[PackedLayer]:
        made = nix.make(
            plan, store=store, local=self.local(), fetch=self.fetch, threads=2, report=report or Quiet(),
            execution=self.execution(**settings),
        )  # fmt: skip
        return list(made)

    def path(self, plan: Plan, store: Store, **settings: str) -> str:
        """The store path of the image."""
        lines = Lines()
        self.nix(plan, store, report=lines, **settings)
        return lines.lines[-1].removeprefix("nix: ").removeprefix(settings.get("nix_store", str(self.nix_store)))

    def query(self, *arguments: str, nix_store: Path | None = None) -> list[str]:
        tool = nix_tool.Tool(private=nix_store or self.nix_store)
        done = subprocess.run(tool.argv("nix-store", *arguments), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def remove(folder: Path) -> None:
    """A Nix store, which is a read-only tree."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def open_small(folder: Path, *, lock: Path, files: Path, nix_store: Path) -> Small:
    """The project in `folder`, with what is known of Debian's packages from a lock file."""
    found = locks.loads(lock.read_text())
    assert isinstance(found.base, DebianBase)
    wanted = {deb.sha256 for deb in found.base.debs}
    remotes = {remote.sha256: remote for remote in found.remotes if remote.sha256 in wanted}
    return Small(folder=folder, nix_store=nix_store, debian=found.base, remotes=remotes, files=files)


if __name__ == "__main__":  # as another user: PROJECT LOCK FILES STORE
    asked = [Path(word) for word in sys.argv[1:]]
    one = open_small(asked[0], lock=asked[1], files=asked[2], nix_store=Path())
    with Store.open(asked[3]) as opened:
        lines = Lines()
        settings = Execution(debian=one.execution().debian)
        layers = nix.make(
            one.plan(), store=opened, local=one.local(), fetch=one.fetch, threads=2, report=lines, execution=settings
        )
        image = assemble.image(one.plan(), layers=layers, store=opened, name="image")
    sys.stdout.write(f"{image.digest} {lines.lines[-1]}\n")
