"""Files of the project, or one large one, as members of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.errors import LayerError
from builder.layers.content import Data, FileSlice
from builder.layers.tar import Member, check_path


def files_members(spec: Mapping[str, Any], *, inputs: Mapping[str, Path]) -> list[Member]:
    """The members of a `FilesLayer` in its JSON form.

    Entries, and generated files whose path is relative, lie below `root`; all is owned by root and has the time of
    the epoch.  `inputs` maps the sha256 of each file to where it lies.
    """
    root = relative(spec["root"])
    members = [Member(path=root, type="dir", mode=0o755, mtime=spec["epoch"])] if root else []
    members += entry_members(spec["entries"], root=root, epoch=spec["epoch"], inputs=inputs)
    return members + generated_members(spec["generated"], root=root, epoch=spec["epoch"])


def relative(path: str) -> str:
    """An absolute path of the image as a member's path."""
    return path.strip("/")


def entry_members(
    entries: Sequence[Mapping[str, Any]], *, root: str, epoch: int, inputs: Mapping[str, Path]
) -> list[Member]:
    """Entries of a source tree (`builder.plan.Entry` in its JSON form) below `root`."""
    return [_entry(entry, root=root, epoch=epoch, inputs=inputs) for entry in entries]


def generated_members(generated: Sequence[Mapping[str, Any]], *, root: str, epoch: int) -> list[Member]:
    """Generated files (`builder.plan.Generated` in its JSON form): below `root` unless their path is absolute."""
    members = []
    for item in generated:
        path = item["path"]
        place = relative(path) if path.startswith("/") else _below(root, path)
        check_path(place, whiteouts=False)
        members.append(Member(path=place, mode=item["mode"], mtime=epoch, content=Data(item["text"].encode())))
    return members


def _entry(entry: Mapping[str, Any], *, root: str, epoch: int, inputs: Mapping[str, Path]) -> Member:
    check_path(entry["path"], whiteouts=False)
    path = _below(root, entry["path"])
    match entry["type"]:
        case "dir":
            return Member(path=path, type="dir", mode=entry["mode"], mtime=epoch)
        case "symlink":
            return Member(path=path, type="symlink", mode=0o777, mtime=epoch, linkname=entry["target"])
        case "file":
            return Member(path=path, mode=entry["mode"], mtime=epoch, content=_content(entry, inputs=inputs))
        case other:
            raise LayerError(f"`{path}` is a {other}, which a layer cannot hold")


def _content(entry: Mapping[str, Any], *, inputs: Mapping[str, Path]) -> Data | FileSlice:
    if entry["size"] == 0:
        return Data(b"")
    source = inputs.get(entry["sha256"])
    if source is None:
        raise LayerError(f"the packer was not given `{entry['path']}` (sha256 {entry['sha256']})")
    return FileSlice(path=source, size=entry["size"], sha256=entry["sha256"], whole=True)


def _below(root: str, path: str) -> str:
    return f"{root}/{path}" if root else path
