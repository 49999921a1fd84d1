"""The packer: a layer of the plan, as JSON, and the files that it names by hash become a layer's bytes.

The only entry point that backends use.  Reads the files it is handed and nothing else; needs no privilege.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import LayerError
from builder.layers.reader import PIECE
from builder.layers.tar import Member
from builder.layers.writer import Codec, Output, Packed, write_layer

if TYPE_CHECKING:
    from builder.layers.bytecode import Compile

__all__ = ["Codec", "Packed", "pack", "write_layer"]


def pack(
    spec: Mapping[str, Any],
    *,
    inputs: Mapping[str, Path],
    out: Output,
    codec: Codec,
    compression: str,
    threads: int = 1,
    verified: Container[str] = (),
    progress: Callable[[int], None] | None = None,
    scratch: Path | None = None,
    compile_with: Compile | None = None,
) -> Packed:
    """Write the layer `spec` (the JSON form of a pure layer of the plan) to `out`.

    `inputs` maps sha256 (hex) to the local file of each wheel, package or project file that `spec` names; all are
    verified while they are read, but for the wheels in `verified` (sha256), whose hash the caller has just checked: of
    those, the CRC-32 of each file.  `progress` is told how many bytes of content are done.  What Debian packages hold,
    and bytecode, is kept meanwhile in unnamed files in `scratch` (default: the system's folder for temporary files).
    A `packages` layer is packed where `spec` has the Debian layer right below as `base`, and every maintainer script is
    known.  Bytecode is compiled by `compile_with`, an interpreter of the version that `spec` names.  Raises
    `LayerError` for an input that is missing, changed, damaged or hostile, or where there is no room; what was written
    to `out` till then is of no use.
    """
    kind = spec["kind"]
    members: Iterable[Member]
    # Imported as they are wanted: a build of which only the code changed must start quickly.
    if kind == "wheels":
        from builder.layers.wheel import wheels_members

        verify([h for h in _hashes(spec) if h not in verified], inputs=inputs, threads=threads)
        members = wheels_members(spec, inputs=inputs)
    elif kind == "runtime":
        from builder.layers.runtime import runtime_members

        verify([h for h in _hashes(spec) if h not in verified], inputs=inputs, threads=threads)
        members = runtime_members(spec, inputs=inputs)
    elif kind == "files":
        from builder.layers.files import files_members

        members = files_members(spec, inputs=inputs)
    elif kind == "interpreter":
        from builder.layers.interpreter import interpreter_members

        verify([spec["sha256"]], inputs=inputs, threads=1)
        members = interpreter_members(spec, inputs=inputs, scratch=scratch)
    elif kind == "debian":
        from builder.layers.debian import debian_members

        members = debian_members(spec, inputs, threads, scratch)
    elif kind == "packages":
        from builder.layers.debian.installed import installed_members

        members = installed_members(spec, inputs, threads, scratch)
    elif kind == "bytecode":
        from builder.layers.bytecode import bytecode_members

        if compile_with is None:
            raise LayerError("the packer was given no interpreter to compile bytecode with")
        if spec["of"]["kind"] in ("wheels", "runtime"):
            verify([h for h in _hashes(spec["of"]) if h not in verified], inputs=inputs, threads=threads)
        elif spec["of"]["kind"] == "interpreter":
            verify([spec["of"]["sha256"]], inputs=inputs, threads=1)
        members = bytecode_members(
            spec, inputs=inputs, compile_with=compile_with, threads=threads, scratch=scratch, progress=progress
        )
    else:
        raise LayerError(f"the packer makes no layers of kind `{kind}`")
    return write_layer(
        members,
        out=out,
        codec=codec,
        compression=compression,
        epoch=spec["epoch"],
        compress=kind in ("bytecode", "debian", "interpreter", "packages"),
        threads=threads,
        progress=progress,
    )


def _hashes(spec: Mapping[str, Any]) -> list[str]:
    return [wheel["sha256"] for wheel in spec["wheels"]]


def verify(wanted: Iterable[str], *, inputs: Mapping[str, Path], threads: int) -> None:
    """Raise `LayerError` unless `inputs` has each sha256 of `wanted`, and each file has it as content."""
    from concurrent.futures import ThreadPoolExecutor  # costs more than a small layer

    with ThreadPoolExecutor(max_workers=threads) as pool:
        for _ in pool.map(lambda sha256: _verify(sha256, inputs.get(sha256)), wanted):
            pass


def _verify(sha256: str, path: Path | None) -> None:
    if path is None:
        raise LayerError(f"the packer was not given the file with sha256 {sha256}")
    found = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                found.update(piece)
    except OSError as problem:
        raise LayerError(f"could not read `{path}`: {problem.strerror}") from problem
    if found.hexdigest() != sha256:
        raise LayerError(
            f"`{path.name}` is not the file that was locked: its content is different",
            details=f"file:     {path}\nexpected: sha256 {sha256}\nfound:    sha256 {found.hexdigest()}",
            hint="it is damaged or was replaced; remove it so that it is fetched again",
        )
