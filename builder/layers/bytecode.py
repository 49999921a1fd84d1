"""Bytecode layers: the `.pyc` files of the sources in another layer, compiled by an interpreter that is handed in.

Standard library only; starts no process.  The bytes depend on the sources, on their paths in the image and on the
version of the interpreter (`builder.layers.compiling` says why on nothing else): files may be compiled in any groups.
"""

from __future__ import annotations

import concurrent.futures
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from builder.errors import LayerError
from builder.layers.content import Content, Data, Deflated, FileSlice, Spooled
from builder.layers.debian.unpack import read_packages
from builder.layers.interpreter import interpreter_members
from builder.layers.reader import Reader
from builder.layers.tar import Member, sort_key

Compile: TypeAlias = Callable[[BinaryIO, BinaryIO], None]
"""Runs `builder.layers.compiling` in an interpreter, from a file of requests to a file of answers."""

GROUP = 4 << 20
"""Bytes of source that one process compiles, about: large enough that its start costs little."""

SOURCE_MAX = 64 << 20
"""A source of more bytes is left out: nobody imports it."""


def bytecode_members(
    spec: Mapping[str, Any],
    *,
    inputs: Mapping[str, Path],
    compile_with: Compile,
    threads: int = 1,
    scratch: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Member]:
    """The members of a `BytecodeLayer` in its JSON form.

    Each source `D/X.py` of the layer that `spec` names in `of` gives `D/__pycache__/X.cpython-311.pyc`: unchecked-hash
    (PEP 552), no optimisation, mode 0644, time of the epoch.  Left out is what does not compile, as an installer does,
    and what that layer has itself.  `scratch` is where the bytecode lies meanwhile, in files without names.
    """
    found = _members(spec["of"], inputs=inputs, threads=threads, scratch=scratch)
    tag = "cpython-" + "".join(spec["version"].split(".")[:2])
    wanted = {}
    for path, content in found.items():
        place = cache_path(path, tag=tag)
        if place is not None and place not in found and 0 < content.size <= SOURCE_MAX:
            wanted[path] = place
    groups = _groups(sorted(wanted, key=sort_key), sizes=found)
    done = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=threads) as pool:
        futures = [
            pool.submit(_compiled, group, found=found, compile_with=compile_with, scratch=scratch) for group in groups
        ]
        try:
            made: dict[str, Spooled] = {}
            for future in futures:
                made |= future.result()
                done += 1
                if progress is not None:
                    progress(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [Member(path=wanted[path], mtime=spec["epoch"], content=content) for path, content in made.items()]


def cache_path(path: str, *, tag: str) -> str | None:
    """Where Python looks for the bytecode of the source `path` (PEP 3147); none where it is no source."""
    folder, _, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix != "py" or not stem or "__pycache__" in path.split("/"):
        return None
    return f"{folder}/__pycache__/{stem}.{tag}.pyc"


def _members(
    of: Mapping[str, Any], *, inputs: Mapping[str, Path], threads: int, scratch: Path | None
) -> dict[str, Content]:
    """The files of the layer whose bytecode is wanted, by path."""
    members: Iterable[Member]
    if of["kind"] == "wheels":
        from builder.layers.wheel import wheels_members

        # One after the other, in the order of the plan: of two wheels with one path, the last has it in the image.
        members = [m for w in of["wheels"] for m in wheels_members({**of, "wheels": [w]}, inputs=inputs)]
    elif of["kind"] == "runtime":
        from builder.layers.runtime import runtime_members

        members = runtime_members(of, inputs=inputs)
    elif of["kind"] == "interpreter":
        members = interpreter_members(of, inputs=inputs, scratch=scratch)
    elif of["kind"] == "debian":
        return _debian(of, inputs=inputs, threads=threads, scratch=scratch)
    else:
        raise LayerError(f"the packer makes no bytecode of layers of kind `{of['kind']}`")
    return {member.path: member.content for member in members if member.content is not None}


def _debian(
    of: Mapping[str, Any], *, inputs: Mapping[str, Path], threads: int, scratch: Path | None
) -> dict[str, Content]:
    """The standard library in Debian's packages: what lies below `usr/lib/pythonX.Y`."""
    paths = [(deb["sha256"], inputs[deb["sha256"]]) for deb in of["debs"]]
    return {
        entry.path: Spooled(file=package.spool, offset=entry.offset, size=entry.size)
        for package in read_packages(paths, threads=threads, scratch=scratch)
        for entry in package.entries
        if entry.type == "file" and entry.path.startswith("usr/lib/python3.")
    }


def _groups(paths: Sequence[str], *, sizes: Mapping[str, Content]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for path in paths:
        group.append(path)
        size += sizes[path].size
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _compiled(
    paths: Sequence[str], *, found: Mapping[str, Content], compile_with: Compile, scratch: Path | None
) -> dict[str, Spooled]:
    """The bytecode of these sources, in a file that lives as long as its content is wanted."""
    answers = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  the members' content holds it open
    with tempfile.TemporaryFile(dir=scratch) as requests:
        with Reader() as reader:
            for path in paths:
                name = f"/{path}".encode()
                source = b"".join(_pieces(found[path], reader=reader, label=path))
                requests.write(len(name).to_bytes(4, "little") + name)
                requests.write(len(source).to_bytes(4, "little") + source)
        requests.seek(0)
        compile_with(requests, answers)
    made = {}
    end = answers.seek(0, 2)
    offset = 0
    for path in paths:
        answers.seek(offset)
        size = int.from_bytes(answers.read(4), "little")
        if size:
            made[path] = Spooled(file=answers, offset=offset + 4, size=size)
        offset += 4 + size
    if offset != end:
        raise LayerError("the interpreter that compiles bytecode gave something else", hint="build with --no-bytecode")
    return made


def _pieces(content: Content, *, reader: Reader, label: str) -> Iterator[bytes]:
    match content:
        case Data():
            yield content.data
        case FileSlice():
            yield from reader.slices(content, label=label)
        case Deflated():
            for _, data in reader.inflate(content, label=label):
                yield data
        case Spooled():
            yield from reader.spooled(content, label=label)
