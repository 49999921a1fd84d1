"""The interpreter layer: a python-build-standalone archive (`install_only`, tar.gz) below a folder of the image.

Standard library only.  The archive is foreign input: it holds one folder `python`, and nothing leaves it.
"""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from builder.errors import LayerError
from builder.layers.content import Spooled
from builder.layers.files import relative
from builder.layers.reader import PIECE
from builder.layers.root import Node, Root
from builder.layers.tar import Member

TOP = "python"
"""The folder that such an archive holds."""

SIZE_MAX = 2 << 30
"""Bytes that an archive may unpack to; those of today have a tenth."""


def interpreter_members(
    spec: Mapping[str, Any], *, inputs: Mapping[str, Path], scratch: Path | None
) -> Iterator[Member]:
    """The members of an `InterpreterLayer` in its JSON form: what the archive holds, owned by root.

    `scratch` is where the unpacked archive lies meanwhile, in a file without a name.  `LayerError` for an archive that
    is damaged, of another shape, or holds anything but folders, files and links within itself.
    """
    archive = inputs[spec["sha256"]]
    target = relative(spec["root"])
    spool = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  the members' content holds it open
    _inflate(archive, spool=spool, label=spec["filename"])
    found = _read(spool, spec=spec)
    if found.names("") != [TOP] or not found.is_dir(TOP):
        raise _odd(spec, f"it holds {', '.join(found.names('')[:3]) or 'nothing'}, and not one folder `{TOP}`")
    root = Root(epoch=spec["epoch"])
    root.mkdir(target)
    for path, node in found.walk(TOP):
        inside = path.removeprefix(f"{TOP}/")
        if "__pycache__" not in inside.split("/"):
            root.place(f"{target}/{inside}".lstrip("/"), node)
    if not root.is_executable(f"{target}/bin/python{spec['version'].rpartition('.')[0]}"):
        raise _odd(spec, f"it holds no Python {spec['version']}")
    yield from root.members()


def _read(spool: BinaryIO, *, spec: Mapping[str, Any]) -> Root:
    """The tree of the archive.  Such archives may name no folders, only what is in them."""
    found = Root(epoch=spec["epoch"])
    spool.seek(0)
    try:
        with tarfile.open(fileobj=spool, mode="r:", encoding="utf-8") as tar:
            for info in tar:
                path = "/".join(part for part in info.name.split("/") if part not in ("", "."))
                if ".." in path.split("/") or info.name.startswith("/"):
                    raise _odd(spec, f"it holds `{info.name}`")
                if info.isdir():
                    found.mkdir(path)
                else:
                    found.put(path, _node(info, path=path, found=found, spool=spool, spec=spec))
    except tarfile.TarError as problem:
        raise _odd(spec, str(problem)) from problem
    return found


def _node(info: tarfile.TarInfo, *, path: str, found: Root, spool: BinaryIO, spec: Mapping[str, Any]) -> Node:
    mtime = int(info.mtime)
    if info.isfile():
        content = Spooled(file=spool, offset=info.offset_data, size=info.size)
        return Node(type="file", mode=0o755 if info.mode & 0o111 else 0o644, mtime=mtime, content=content)
    if info.issym():
        if _leaves(found.real(path).removeprefix(f"{TOP}/"), info.linkname):
            raise _odd(spec, f"the link `{path}` leaves it")
        return Node(type="symlink", mode=0o777, mtime=mtime, target=info.linkname)
    other = found.node(info.linkname) if info.islnk() else None
    if other is None or other.type != "file":
        raise _odd(spec, f"`{path}` is no file, folder or link within it")
    return other


def _inflate(archive: Path, *, spool: BinaryIO, label: str) -> None:
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    size = 0
    try:
        with archive.open("rb") as file:
            while piece := file.read(PIECE):
                while piece and not stream.eof:
                    data = stream.decompress(piece, 8 * PIECE)
                    size += len(data)
                    if size > SIZE_MAX:
                        raise LayerError(f"`{label}` is hostile: it unpacks to more than {SIZE_MAX >> 30} GiB")
                    spool.write(data)
                    piece = stream.unconsumed_tail
                if stream.eof and (stream.unused_data or file.read(1)):
                    raise LayerError(f"`{label}` is damaged: bytes follow its end")
    except zlib.error as problem:
        raise LayerError(f"`{label}` is damaged: {problem}") from problem
    except OSError as problem:
        raise LayerError(
            f"could not unpack `{label}`: {problem.strerror}", hint="free some space, or move the cache"
        ) from problem
    if not stream.eof:
        raise LayerError(f"`{label}` is damaged: it ends too soon")


def _leaves(path: str, target: str) -> bool:
    """Whether a link at `path` (relative to the archive's folder) points out of the folder."""
    parts = [] if target.startswith("/") else path.split("/")[:-1]
    if target.startswith("/"):
        return True
    for part in target.split("/"):
        if part == "..":
            if not parts:
                return True
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return False


def _odd(spec: Mapping[str, Any], what: str) -> LayerError:
    return LayerError(
        f"`{spec['filename']}` is not an interpreter's archive: {what}",
        hint="python-build-standalone's `install_only` archives are; check the mirror in `UV_PYTHON_INSTALL_MIRROR`",
    )
