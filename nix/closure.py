"""Run in the Nix sandbox: a layer of the closure of some packages, with links to their programs, to `$out`."""

import json
import os
import sys
from pathlib import Path

BIN = "usr/local/bin"
MTIME = 1  # of everything in a Nix store


def main() -> None:
    """Read `$specPath` and the reference graphs beside it; write a folder with the blob and what it became."""
    env = dict(os.environ)
    spec = json.loads(Path(env["specPath"]).read_bytes())
    sys.path.insert(0, spec["source"])
    if not spec["codec"]:
        fail("the layer of nixpkgs' packages is compressed, and there is no codec\nhint: pass `codec`")
    sys.path.append(spec["codec"])

    from builder.codec import codec_for
    from builder.errors import CogsmithError
    from builder.layers.pack import write_layer
    from builder.layers.tar import Member
    from builder.plan import Codec

    members = [member for path in closure(len(spec["packages"])) for member in tree(Path(path))]
    programs = {}
    for package in spec["packages"]:
        for program in sorted(Path(package, "bin").glob("*")):
            if programs.setdefault(program.name, program) != program:
                fail(f"`{programs[program.name]}` and `{program}` would both be `/{BIN}/{program.name}`")
    members += [
        Member(path=f"{BIN}/{name}", type="symlink", mode=0o777, mtime=spec["epoch"], linkname=str(program))
        for name, program in sorted(programs.items())
    ]
    out = Path(env["out"])
    out.mkdir()
    try:
        with (out / "layer").open("wb") as blob:
            packed = write_layer(
                members,
                out=blob,
                codec=codec_for(Codec(**spec["codecOfPlan"]), spec["compression"]),
                compression=spec["compression"],
                epoch=spec["epoch"],
                compress=True,
            )
    except CogsmithError as problem:
        fail(str(problem))
    about = {"digest": packed.digest, "diff_id": packed.diff_id, "size": packed.size}
    (out / "packed.json").write_text(json.dumps(about, sort_keys=True))


def closure(count: int) -> list[str]:
    """All store paths in the graphs (`exportReferencesGraph`: path, deriver, number of references, these)."""
    found = set()
    for number in range(count):
        lines = iter(Path(f"graph-{number}").read_text().splitlines())
        for path in lines:
            next(lines)
            for _ in range(int(next(lines))):
                next(lines)
            found.add(path)
    return sorted(found)


def tree(path: Path) -> list:
    """A store path as members of a layer: nobody may write it, as in a store."""
    from builder.layers.content import FileSlice
    from builder.layers.tar import Member

    name = str(path).lstrip("/")
    if path.is_symlink():
        return [Member(path=name, type="symlink", mode=0o777, mtime=MTIME, linkname=str(path.readlink()))]
    if path.is_dir():
        below = [member for child in sorted(path.iterdir()) for member in tree(child)]
        return [Member(path=name, type="dir", mode=0o555, mtime=MTIME), *below]
    status = path.stat()
    mode = 0o555 if status.st_mode & 0o100 else 0o444
    return [Member(path=name, mode=mode, mtime=MTIME, content=FileSlice(path=path, size=status.st_size))]


def fail(text: str) -> None:
    """End; the lines are those that `cogsmith` looks for in what Nix prints."""
    sys.exit("\n".join(f"cogsmith: {line}" for line in text.splitlines()))


main()
