"""A container root made of this machine's own /usr."""

from __future__ import annotations

import dataclasses
import os
import uuid
from pathlib import Path

from builder import sandbox
from builder.sandbox import Mount, Overlay, Spec

LINKS = ("bin", "lib", "lib64", "sbin")


@dataclasses.dataclass(frozen=True)
class Box:
    """A root made of this machine's own /usr, and a place to work."""

    folder: Path
    lower: Path
    scratch: Path
    token: str

    def spec(self, *argv: str, **changes: object) -> Spec:
        spec = Spec(
            root=Overlay(lower=(self.lower,)),
            argv=argv,
            env=(("PATH", "/usr/bin:/bin"),),
            mounts=(Mount(target="/usr", source=Path("/usr"), readonly=True),),
            scratch=self.scratch,
        )
        return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]

    def output(self, script: str, **changes: object) -> str:
        """What a shell script says on standard output; it must succeed."""
        path = self.folder / f"out-{uuid.uuid4().hex}"
        with path.open("wb") as file:
            code = sandbox.run(self.spec("sh", "-euc", script, **changes), stdout=file)
        assert code == 0
        return path.read_text()

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.scratch.glob("sandbox-*"))


def system_links(folder: Path) -> None:
    """The links of a merged /usr, as far as this machine has them."""
    folder.mkdir(exist_ok=True)
    for name in LINKS:
        if Path("/", name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")


def processes(token: str) -> list[int]:
    """The processes whose command line holds `token`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if token.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
