"""The delta of a step, written as a tar to standard output: run by `sandbox.work` where the files' owners are known."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.layers.changes import read_layer, read_upper, read_whole
from builder.layers.delta import delta
from builder.layers.lower import Folders
from builder.layers.writer import write_tar


def write_delta(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the normalised delta of `arguments`: `upper` (or `archive`, or `whole`), `lower`, `epoch` and `mounts`.

    Returns how many `members` it has.  `lower` are the unpacked layers, the base first.
    """
    lower = Folders([Path(path) for path in arguments["lower"]])
    epoch, mounts = arguments["epoch"], arguments["mounts"]
    if "archive" in arguments:
        with Path(arguments["archive"]).open("rb") as archive:
            members = delta(read_layer(archive, lower=lower), lower=lower, epoch=epoch, mounts=mounts)
            return _write(members)
    if "whole" in arguments:
        changes = read_whole(Path(arguments["whole"]))
    else:
        changes = read_upper(Path(arguments["upper"]), lower=lower)
    return _write(delta(changes, lower=lower, epoch=epoch, mounts=mounts))


def _write(members: list[Any]) -> dict[str, Any]:
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as raw:
        write_tar(members, out=_Whole(raw))
    return {"members": len(members)}


class _Whole:
    """A pipe that takes all of what it is given."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._raw.write(view) :]
