"""What a base image's layers hold that matters to us: Python interpreters and the C library.

Reads each layer's tar once as a stream, from the base up, obeying whiteouts; keeps a few small facts, unpacks nothing.
`glance` reads less where that is enough: from the top down until the Python is found, and the lowest layer for the C
library.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import io
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

from builder.errors import ResolveError
from builder.frozen import frozen
from builder.inflate import inflated
from builder.layers.untar import Bounded
from builder.oci import PackedLayer
from builder.plan import Interpreter
from builder.registry.sources import Readable
from builder.report import Report
from builder.store import Store

FORMAT = 1
"""Raised whenever `contents_of` would find something else in the same image."""

_PYTHON = re.compile(r"(?P<prefix>.+)/bin/python(?P<minor>3\.\d+)")
_LIBPYTHON = re.compile(r"(?P<prefix>.+)/lib(?:64)?/(?:[^/]+-linux-gnu[^/]*/)?libpython(?P<minor>3\.\d+)\.so\.1\.0")
_PATCHLEVEL = re.compile(r"(?P<prefix>.+)/include/python(?P<minor>3\.\d+)/patchlevel\.h")
_VENV = re.compile(r"(?P<prefix>.+)/pyvenv\.cfg")
_LIBC = re.compile(r"(?:usr/)?lib(?:64|32)?/(?:[^/]+-linux-gnu[^/]*/)?libc(?:\.so\.6|-2\.\d+\.so)")
_MUSL = re.compile(r"(?:usr/)?lib/ld-musl-[^/]+\.so\.1")
_STATUS = re.compile(r"var/lib/dpkg/(?:status|status\.d/[^/]+)")

_GLIBC_VERSION = re.compile(rb"GNU C Library [^\n\0]{0,120}?version (\d+\.\d+)")
_DEFINED_VERSION = re.compile(rb'#define PY_VERSION\s+"(3\.\d+\.\d+[^"]*)"')
_LITERAL_VERSION = re.compile(rb"\0(3\.\d+\.\d+(?:(?:a|b|rc)\d+)?\+?)\0")
_LARGEST_FILE = 128 << 20
_DAMAGED = "who made the image must make it again: name another, or another version of it"


@frozen
class Contents:
    """`interpreters` in order of their paths; `glibc` is its version (`2.36`) or empty; `musl`: its loader is there."""

    interpreters: tuple[Interpreter, ...]
    glibc: str
    musl: bool

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contents:
        """Read what `dataclasses.asdict` wrote."""
        found = tuple(Interpreter(path=each["path"], version=each["version"]) for each in data["interpreters"])
        return cls(interpreters=found, glibc=str(data["glibc"]), musl=bool(data["musl"]))


@dataclasses.dataclass(frozen=True, slots=True)
class _Fact:
    """One file of interest: what it is, and the version it tells (empty: none)."""

    kind: str
    version: str = ""
    link: str = ""
    packages: tuple[tuple[str, str], ...] = ()


def contents_of(
    layers: Sequence[PackedLayer], *, env: Sequence[tuple[str, str]], store: Store, report: Report
) -> Contents:
    """Look through layers that are in the store, from the base up; `env` is the image's.

    Raises `ResolveError` or `LayerError` if a layer cannot be read or is not what its diff id says.
    """
    facts: dict[str, _Fact] = {}
    total = sum(layer.size for layer in layers)
    done = 0
    for layer in layers:
        with store.blob_path(layer.digest).open("rb") as file:
            _read_layer(file, layer=layer, facts=facts)
        store.record_layer(f"blob {layer.digest}", layer)
        done += layer.size
        report.advance("reading the base image", done, total)
    return _conclude(facts, env=dict(env))


def glance(
    layers: Sequence[PackedLayer],
    *,
    env: Sequence[tuple[str, str]],
    python_version: str | None,
    open_layer: Callable[[PackedLayer], Readable],
) -> Contents | None:
    """The one interpreter that `python_version` means and the C library, from the beginnings of few layers.

    None where only the whole image can tell.  What is found is what `contents_of` finds: the interpreter lies in the
    first folder of PATH, which nothing can precede, and no layer above it hides it.  The C library is that of the
    lowest layer; one that a layer between renewed is newer, and runs what was built for the older.
    """
    variables = dict(env)
    first = variables.get("PATH", "").split(":")[0].strip("/")
    prefix = first.removesuffix("/bin")
    minor = ".".join((python_version or "").split(".")[:2])
    if not minor or not layers or prefix in (first, "usr"):  # of Debian's own Python, dpkg's database tells the version
        return None
    target = f"{prefix}/bin/python{minor}"
    interpreter = _newest(layers, target=target, prefix=prefix, minor=minor, env=variables, open_layer=open_layer)
    if interpreter is None or python_version not in (minor, interpreter.version):
        return None
    with contextlib.closing(open_layer(layers[0])) as file:
        for _, fact in _facts(file, name=layers[0].digest):
            if fact is not None and fact.kind == "libc" and fact.version:
                return Contents(interpreters=(interpreter,), glibc=fact.version, musl=False)
            if fact is not None and fact.kind == "musl":
                return None
    return None


def _newest(
    layers: Sequence[PackedLayer],
    *,
    target: str,
    prefix: str,
    minor: str,
    env: Mapping[str, str],
    open_layer: Callable[[PackedLayer], Readable],
) -> Interpreter | None:
    for layer in reversed(layers):
        facts: dict[str, _Fact] = {}
        hidden = False
        with contextlib.closing(open_layer(layer)) as file:
            for path, fact in _facts(file, name=layer.digest):
                folder, name = posixpath.split(path)
                if name.startswith(".wh."):
                    gone = folder if name == ".wh..wh..opq" else posixpath.join(folder, name.removeprefix(".wh."))
                    hidden = hidden or not gone or f"{target}/".startswith(f"{gone}/")
                elif f"{target}/".startswith(f"{path}/") and (path != target or fact is None or fact.link):
                    return None  # a link or a file where a folder should be
                elif fact is not None and fact.kind == "python" and folder == f"{prefix}/bin" and path != target:
                    return None  # it is about another Python
                if fact is not None:
                    facts[path] = fact
                sources = [one for one in facts.values() if one.kind in ("patchlevel", "libpython") and one.version]
                if target in facts and sources:
                    version = _python_version(prefix, minor=minor, facts=facts, packages={}, env={})
                    if version:
                        return Interpreter(path=f"/{target}", version=version)
        if target in facts:
            version = _python_version(prefix, minor=minor, facts=facts, packages={}, env=env)
            return Interpreter(path=f"/{target}", version=version) if version else None
        if hidden:
            return None
    return None


def _facts(file: Readable, *, name: str) -> Iterator[tuple[str, _Fact | None]]:
    """The path of each member of a layer that is no folder, and what it tells."""
    stream = _Stream(inflated(cast("BinaryIO", file), name=name))  # nothing but `read` is used
    seen: dict[str, _Fact] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", tarinfo=Bounded) as archive:
            for member in archive:
                path = posixpath.normpath(member.name).lstrip("/")
                if not member.isdir():
                    fact = _fact(archive, member=member, path=path, known=seen)
                    if fact is not None:
                        seen[path] = fact
                    yield path, fact
    except tarfile.TarError as problem:
        raise ResolveError(f"the layer `{name}` of the base image is damaged: {problem}", hint=_DAMAGED) from problem


def _read_layer(file: BinaryIO, *, layer: PackedLayer, facts: dict[str, _Fact]) -> None:
    stream = _Stream(inflated(file, name=layer.digest))
    added: dict[str, _Fact] = {}
    known = collections.ChainMap(added, facts)
    try:
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", tarinfo=Bounded) as archive:
            for member in archive:
                path = posixpath.normpath(member.name).lstrip("/")
                if posixpath.basename(path).startswith(".wh."):
                    _white_out(path, facts=facts)
                    continue
                if not member.isdir():
                    # A file in the place of a folder hides all that was in it.
                    _forget(path, facts=facts)
                    fact = _fact(archive, member=member, path=path, known=known)
                    if fact is not None:
                        added[path] = fact
    except tarfile.TarError as problem:
        raise ResolveError(
            f"the layer `{layer.digest}` of the base image is damaged: {problem}", hint=_DAMAGED
        ) from problem
    stream.drain()
    if stream.digest() != layer.diff_id:
        raise ResolveError(
            f"the layer `{layer.digest}` of the base image is not what the image's configuration says",
            details=f"expected the diff id {layer.diff_id}\ngot              {stream.digest()}",
            hint=_DAMAGED,
        )
    facts.update(added)


def _white_out(path: str, *, facts: dict[str, _Fact]) -> None:
    # image-spec, "Whiteouts": they hide what lower layers have, never what their own layer has.
    folder, name = posixpath.split(path)
    if name == ".wh..wh..opq":
        for other in [other for other in facts if other.startswith(folder + "/") or not folder]:
            del facts[other]
    else:
        _forget(posixpath.join(folder, name.removeprefix(".wh.")), facts=facts)


def _forget(path: str, *, facts: dict[str, _Fact]) -> None:
    for other in [other for other in facts if other == path or other.startswith(path + "/")]:
        del facts[other]


def _fact(archive: tarfile.TarFile, *, member: tarfile.TarInfo, path: str, known: Mapping[str, _Fact]) -> _Fact | None:
    kind = next((kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(path)), None)
    if kind is None:
        return None
    if member.issym():
        return _Fact(kind, link=_target(path, member.linkname))
    if member.islnk():
        return known.get(posixpath.normpath(member.linkname).lstrip("/"), _Fact(kind))
    if kind in ("musl", "venv") or not member.isreg() or member.size > _LARGEST_FILE:
        return _Fact(kind)
    source = archive.extractfile(member)
    data = source.read() if source is not None else b""
    if kind == "status":
        return _Fact(kind, packages=tuple(_packages(data)))
    pattern = {"libc": _GLIBC_VERSION, "patchlevel": _DEFINED_VERSION}.get(kind, _LITERAL_VERSION)
    if kind in ("python", "libpython"):
        minor = _PATTERNS[kind].fullmatch(path)
        assert minor is not None
        versions = {each.decode().rstrip("+") for each in pattern.findall(data)}
        fitting = sorted(version for version in versions if version.startswith(minor["minor"] + "."))
        return _Fact(kind, version=fitting[0] if len(fitting) == 1 else "")
    match = pattern.search(data)
    return _Fact(kind, version=match[1].decode().rstrip("+") if match else "")


_PATTERNS = {
    "python": _PYTHON,
    "libpython": _LIBPYTHON,
    "patchlevel": _PATCHLEVEL,
    "venv": _VENV,
    "libc": _LIBC,
    "musl": _MUSL,
    "status": _STATUS,
}


def _target(path: str, link: str) -> str:
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), link)).lstrip("/")


def _packages(data: bytes) -> Iterator[tuple[str, str]]:
    """Package and version of each installed package of a dpkg status file."""
    for paragraph in data.decode(errors="replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        # distroless images keep a file for each package, without a status
        if "Package" in fields and fields.get("Status", "install ok installed").endswith(" installed"):
            yield fields["Package"], fields.get("Version", "")


def _conclude(facts: Mapping[str, _Fact], *, env: Mapping[str, str]) -> Contents:
    packages = {name: version for fact in facts.values() for name, version in fact.packages}
    interpreters = []
    for path, fact in sorted(facts.items()):
        match = _PYTHON.fullmatch(path)
        # A link or copy in a virtual environment is not an interpreter of its own.
        if match is None or fact.kind != "python" or fact.link or f"{match['prefix']}/pyvenv.cfg" in facts:
            continue
        version = _python_version(match["prefix"], minor=match["minor"], facts=facts, packages=packages, env=env)
        version = version or fact.version
        if version:
            interpreters.append(Interpreter(path=f"/{path}", version=version))
    glibc = next((fact.version for fact in facts.values() if fact.kind == "libc" and fact.version), "")
    if not glibc and "libc6" in packages:
        glibc = _upstream(packages["libc6"])
    return Contents(
        interpreters=tuple(interpreters), glibc=glibc, musl=any(fact.kind == "musl" for fact in facts.values())
    )


def _python_version(
    prefix: str, *, minor: str, facts: Mapping[str, _Fact], packages: Mapping[str, str], env: Mapping[str, str]
) -> str:
    """The full version of `prefix/bin/pythonX.Y`, from the most certain source that there is."""
    if prefix == "usr":
        for package in (f"python{minor}-minimal", f"libpython{minor}-minimal", f"python{minor}"):
            if package in packages:
                return _upstream(packages[package], parts=3)
    for pattern, kind in ((_PATCHLEVEL, "patchlevel"), (_LIBPYTHON, "libpython")):
        for path, fact in facts.items():
            match = pattern.fullmatch(path) if fact.kind == kind else None
            if match and match["prefix"] == prefix and match["minor"] == minor and fact.version:
                return fact.version
    declared = env.get("PYTHON_VERSION", "")  # python's official images
    return declared if prefix == "usr/local" and declared.startswith(minor + ".") else ""


def _upstream(version: str, *, parts: int = 2) -> str:
    """`3.11.2` of Debian's `1:3.11.2-6+deb12u4`, so many parts of it."""
    match = re.match(rf"(?:\d+:)?(\d+(?:\.\d+){{{parts - 1}}})(~?(?:a|b|rc)\d+)?", version)
    return match[1] + (match[2] or "").lstrip("~") if match else ""


class _Stream(io.RawIOBase):
    """Chunks as the file that `tarfile` reads, hashed on the way."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Exactly `size` bytes unless the stream ends."""
        parts = []
        while size > 0:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                self._hash.update(self._rest)
                if not self._rest:
                    break
            parts.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def drain(self) -> None:
        """Read on to the end: what follows the archive's end belongs to the diff id too."""
        for chunk in self._chunks:
            self._hash.update(chunk)

    def digest(self) -> str:
        """`sha256:...` of all that was read."""
        return f"sha256:{self._hash.hexdigest()}"
