"""An interpreter to compile with, unpacked into a folder of this machine from files that a plan names by hash.

Standard library only; starts no process: says how it is to be started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder.errors import LayerError
from builder.frozen import frozen
from builder.layers.content import Content, Spooled
from builder.layers.debian.unpack import read_packages
from builder.layers.interpreter import interpreter_members
from builder.layers.reader import Reader
from builder.layers.tar import Member

COMPILING = Path(__file__).parent / "compiling.py"

FLAGS = ("-s", "-S", "-B", "-X", "utf8", "-W", "ignore")
"""No `site`, nothing written; not `-I`, which would ignore `PYTHONHASHSEED`: before 3.11 it shapes the bytes."""

LOADERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}


@frozen
class Program:
    """How `builder.layers.compiling` is started: its whole command and its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def unpack_interpreter(
    compiler: Mapping[str, Any], *, version: str, inputs: Mapping[str, Path], target: Path
) -> Program:
    """Unpack what `compiler` (`builder.plan.Compiler` in its JSON form) names into the empty folder `target`.

    All of it is verified.  Debian's Python is started through its own loader, with its own libraries, so that nothing
    of this machine but its kernel has a part in it.  `LayerError` where there is no such interpreter in the files.
    """
    minor = ".".join(version.split(".")[:2])
    if compiler["archive"] is None:
        return _debian(compiler, minor=minor, inputs=inputs, target=target)
    spec = {**compiler["archive"], "root": "/", "version": version, "epoch": 0}
    library = f"lib/python{minor}/"
    members = interpreter_members(spec, inputs=inputs, scratch=target)
    _write((member for member in members if _is_needed(member.path, library=library)), target=target)
    return _program([str(target / "bin" / f"python{minor}")], home=target)


def _is_needed(path: str, *, library: str) -> bool:
    """Whether an interpreter needs the file to start, and to compile."""
    inside = path.removeprefix(library)
    if inside != path:
        return "/" not in inside or inside.startswith(
            ("collections/", "encodings/", "importlib/", "lib-dynload/unicodedata")  # that for `\N{...}` in sources
        )
    return path.startswith("bin/") or (path.startswith("lib/lib") and ".so" in path)


def _debian(compiler: Mapping[str, Any], *, minor: str, inputs: Mapping[str, Path], target: Path) -> Program:
    paths = [(deb["sha256"], inputs[deb["sha256"]]) for deb in compiler["debs"]]
    members = [
        Member(
            path=entry.path,
            type="symlink" if entry.type == "symlink" else "file",
            mode=entry.mode & 0o777,
            linkname=entry.linkname if entry.type == "symlink" else "",
            content=Spooled(file=package.spool, offset=entry.offset, size=entry.size) if entry.type == "file" else None,
        )
        for package in read_packages(paths, threads=1, scratch=target)
        for entry in package.entries
        if entry.type in ("file", "symlink") and not entry.path.startswith(("usr/share/", "etc/"))
    ]
    _write(members, target=target)
    loaders = sorted(target.rglob(LOADERS[compiler["architecture"]]))
    python = target / "usr" / "bin" / f"python{minor}"
    found = [path for path in loaders if path.is_file() and not path.is_symlink()]
    if not found or not python.is_file():
        raise LayerError(
            f"the packages of the plan hold no Python {minor} to compile bytecode with",
            hint="build with --no-bytecode",
        )
    # Merged /usr or not, old and new packages lie side by side.
    folders = {path.parent for path in target.rglob("*.so*")}
    libraries = ":".join(str(folder) for folder in sorted(folders))
    return _program([str(found[0]), "--library-path", libraries, str(python)], home=target / "usr")


def _program(start: list[str], *, home: Path) -> Program:
    text = COMPILING.read_text(encoding="utf-8")
    return Program(
        argv=(*start, *FLAGS, "-c", text),
        env={"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONHOME": str(home)},
    )


def _write(members: Iterable[Member], *, target: Path) -> None:
    with Reader() as reader:
        for member in members:
            path = target / member.path
            if member.type == "symlink":
                if "/" in member.linkname or member.linkname in (".", ".."):
                    continue  # of a library to its real name, beside it; no other is needed
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(member.linkname)
            elif member.content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_file(path, member.content, reader=reader, label=member.path)
                path.chmod(member.mode | 0o600)


def _write_file(path: Path, content: Content, *, reader: Reader, label: str) -> None:
    if not isinstance(content, Spooled):
        raise LayerError(f"`{label}` of an interpreter has no content")
    with path.open("xb") as out:
        for piece in reader.spooled(content, label=label):
            out.write(piece)
