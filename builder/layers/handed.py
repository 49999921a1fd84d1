"""The delta of a step, written as a tar to standard output: run by `sandbox.work` where the files' owners are known."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from builder.layers.changes import read_layer, read_upper, read_whole
from builder.layers.content import FileSlice
from builder.layers.delta import Changes, delta
from builder.layers.lower import Folders
from builder.layers.secret import checked
from builder.layers.tar import Member
from builder.layers.writer import write_tar


def write_delta(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the normalised delta of `arguments`: `upper` (or `archive`, or `whole`), `lower`, `epoch` and `mounts`.

    Returns how many `members` it has.  `lower` are the unpacked layers, the base first.  With `consumed`, nobody wants
    the files of `upper` any more: each goes when it is written, and what of it is not on the disk yet never is.  With
    `secrets`, base64 by place, a file of the `step` that has one of them is a `LayerError`.
    """
    lower = Folders([Path(path) for path in arguments["lower"]])
    epoch, mounts = arguments["epoch"], arguments["mounts"]
    secrets = {target: base64.b64decode(value) for target, value in arguments.get("secrets", {}).items()}

    def write(changes: Changes) -> dict[str, Any]:
        found = delta(changes, lower=lower, epoch=epoch, mounts=mounts)
        members = checked(found, secrets=secrets, step=arguments.get("step", "a command"))
        if arguments.get("consumed"):
            members = _consuming(members, folder=arguments["upper"])
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as raw:
            write_tar(members, out=_Whole(raw))
        return {"members": len(found)}

    if "archive" in arguments:
        with Path(arguments["archive"]).open("rb") as archive:
            return write(read_layer(archive, lower=lower))
    if "whole" in arguments:
        return write(read_whole(Path(arguments["whole"])))
    return write(read_upper(Path(arguments["upper"]), lower=lower))


def _consuming(members: Iterable[Member], *, folder: str) -> Iterator[Member]:
    """The same, whose files below `folder` are removed when the next one is asked for."""
    inside = f"{folder}/"
    for member in members:
        yield member
        content = member.content
        if isinstance(content, FileSlice) and os.fspath(content.path).startswith(inside):
            with contextlib.suppress(OSError):
                content.path.unlink()


class _Whole:
    """A pipe that takes all of what it is given."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._raw.write(view) :]
