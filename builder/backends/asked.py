"""A base image that is asked: its files read, and its own programs run over its layers in our sandbox, nothing kept.

Implements `resolve.apt.image.Image` without importing it; makes no layer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from builder import sandbox
from builder.backends.sandboxed import PROCESSES, Sandboxed
from builder.engine.unpack import Fetch, unpack_all
from builder.errors import SandboxError
from builder.layers.content import FileSlice
from builder.layers.delta import resolve
from builder.layers.lower import Folders
from builder.oci import PackedLayer
from builder.plan import Plan
from builder.report import Report
from builder.store import Store

FOLDER = "/run/cogsmith/apt"
"""Where a question's folder is seen in the image."""

LARGEST = 64 << 20
"""Bytes of a file or an answer that are read at most: an image is foreign input."""


def check(plan: Plan, *, store: Store) -> None:
    """`SandboxError` where this machine cannot run the programs of an image for the platform of `plan`."""
    with store.scratch() as scratch:
        problems = Sandboxed().check(plan, scratch=scratch)
    if problems:
        raise SandboxError(
            "the system packages cannot be resolved on this machine: the image's own apt must run",
            details="\n".join(problems),
            hint="put right what is listed; or run `cogsmith lock` on a machine that can, and build with its lock file",
        )


class UnpackedImage:
    """A base image whose layers are unpacked."""

    def __init__(
        self, layers: Sequence[PackedLayer], *, store: Store, report: Report, fetch: Fetch | None = None
    ) -> None:
        self._folders = unpack_all(layers, store=store, report=report, fetch=fetch, full=True)
        self._tree = Folders(self._folders)
        self._store = store

    def read(self, path: str, /) -> bytes | None:
        """The content of the file `/path`, links followed inside the image; nothing if there is none."""
        node = self._tree.node(resolve(path, lower=self._tree))
        if node is None or node.type != "file" or not isinstance(node.content, FileSlice):
            return None
        with Path(node.content.path).open("rb") as file:
            return file.read(LARGEST)

    def names(self, folder: str, /) -> Sequence[str]:
        """The names in `/folder`, sorted; none if there is no such folder."""
        place = resolve(folder, lower=self._tree)
        node = self._tree.node(place)
        return self._tree.names(place) if node is not None and node.type == "dir" else ()

    def ask(self, argv: Sequence[str], /, *, env: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
        """Run a program of the image's as root, without network; nothing of it stays.  It sees `folder` at `FOLDER`.

        Returns the exit code, the output and what it wrote to its standard error.
        """
        with self._store.scratch() as scratch, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            spec = sandbox.Spec(
                root=sandbox.Overlay(lower=tuple(self._folders)),
                argv=tuple(argv),
                env=tuple(env.items()),
                mounts=(sandbox.Mount(target=FOLDER, source=folder, readonly=True),),
                scratch=scratch / "sandbox",
                network="none",
                ids="full",
                processes=PROCESSES,
            )
            code = sandbox.run(spec, stdin=sandbox.DEVNULL, stdout=out, stderr=err)
            return code, _text(out), _text(err)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(LARGEST).decode("utf-8", errors="replace")
