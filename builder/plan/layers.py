"""What layers hold, and what they are made of: frozen plain data.  Stdlib only; no I/O."""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

from builder.frozen import frozen

Network: TypeAlias = Literal["host", "none"]
"""What a command sees of the network: all that this machine does, or nothing."""


@frozen
class Deb:
    """A Debian package file, by hash.  `filename` is its path below a mirror (`pool/main/...`)."""

    package: str
    version: str
    architecture: str
    filename: str
    size: int
    sha256: str


@frozen
class Wheel:
    """A wheel, by hash.  `name` is normalised (PEP 503)."""

    name: str
    version: str
    filename: str
    size: int
    sha256: str


@frozen
class PythonArchive:
    """An archive of python-build-standalone, by hash."""

    filename: str
    size: int
    sha256: str


@frozen
class Entry:
    """One path of a source tree, relative, `/`-separated.

    `type` is `file`, `dir` or `symlink`.  `mode` holds permission bits only.  `size` and `sha256` are of the
    content of a file, `target` is that of a symbolic link.
    """

    path: str
    type: Literal["file", "dir", "symlink"] = "file"
    mode: int = 0o644
    size: int = 0
    sha256: str = ""
    target: str = ""


@frozen
class Generated:
    """A small text file that no folder holds: its content is part of the plan."""

    path: str
    text: str
    mode: int = 0o644


@frozen
class Interpreter:
    """The image's Python: absolute path inside the image and full version."""

    path: str
    version: str

    @property
    def minor(self) -> str:
        """`3.11` of `3.11.2`."""
        return ".".join(self.version.split(".")[:2])


@frozen
class BaseLayer:
    """A layer of a base image, by digest; its bytes are never rewritten."""

    kind: Literal["base"] = "base"
    digest: str
    diff_id: str
    size: int
    media_type: str
    reason: str = ""


@frozen
class DebianLayer:
    """A Debian system made from packages.

    `executed` is true when a maintainer script is not one of those whose effects are modelled: then the packages are
    configured by the image's own `dpkg` in a sandbox, and the bytes come from there.
    """

    kind: Literal["debian"] = "debian"
    suite: str
    architecture: str
    debs: tuple[Deb, ...]
    epoch: int
    executed: bool = False
    reason: str = ""


@frozen
class InterpreterLayer:
    """A Python of its own below `root`: an `install_only` archive of python-build-standalone, by hash."""

    kind: Literal["interpreter"] = "interpreter"
    root: str
    version: str
    filename: str
    size: int
    sha256: str
    epoch: int
    reason: str = ""


@frozen
class WheelsLayer:
    """Wheels installed in `prefix`, a virtual environment of the Python `python` (`3.11`)."""

    kind: Literal["wheels"] = "wheels"
    prefix: str
    python: str
    wheels: tuple[Wheel, ...]
    epoch: int
    reason: str = ""


@frozen
class RuntimeLayer:
    """The virtual environment's skeleton, the `cog` SDK and the server with wheels of its own.

    Holds `venv` (`pyvenv.cfg`, `bin/python`), `files` below `root` and `wheels` in `root/server`.
    """

    kind: Literal["runtime"] = "runtime"
    root: str
    venv: str
    interpreter: Interpreter
    version: str
    files: tuple[Entry, ...]
    generated: tuple[Generated, ...]
    wheels: tuple[Wheel, ...]
    epoch: int
    reason: str = ""


@frozen
class FilesLayer:
    """Files of the project below `root`: its code, or one large file (`role` says which)."""

    kind: Literal["files"] = "files"
    role: Literal["code", "weights"]
    root: str
    entries: tuple[Entry, ...]
    generated: tuple[Generated, ...] = ()
    epoch: int
    reason: str = ""


@frozen
class Compiler:
    """An interpreter that compiles on machines of `architecture`: in packages of Debian, or an archive."""

    architecture: str
    debs: tuple[Deb, ...] = ()
    archive: PythonArchive | None = None


@frozen
class BytecodeLayer:
    """The bytecode of the sources in the layer `of`, for and by CPython `version` (`3.11.2`).

    Of a Debian system, that of its standard library.  Wheels count in their order: of two with one path, the last one's
    is in the image.  `compilers` say what compiles it, and shape nothing: equal versions compile alike.
    """

    kind: Literal["bytecode"] = "bytecode"
    version: str
    of: WheelsLayer | RuntimeLayer | DebianLayer | InterpreterLayer
    compilers: tuple[Compiler, ...]
    epoch: int
    reason: str = ""


@frozen
class SecretMount:
    """A secret that a command sees as a file at `target`; its value is in no plan."""

    id: str
    target: str


@frozen
class RunLayer:
    """What a command of the user's changes, executed over everything below it.

    `env` is its whole environment.  `below` are the identities of the layers under it, the base first: it is this chain
    that makes the key of an executed layer (`chain_link`).
    """

    kind: Literal["run"] = "run"
    command: str
    secrets: tuple[SecretMount, ...] = ()
    network: Network = "host"
    env: tuple[tuple[str, str], ...]
    below: tuple[str, ...]
    epoch: int
    reason: str = ""


@frozen
class PackagesLayer:
    """Debian packages that the image's own apt and dpkg install over everything below, from these files alone.

    `requested` are the names that the user wrote.  `below` as in `RunLayer`.
    """

    kind: Literal["packages"] = "packages"
    requested: tuple[str, ...]
    debs: tuple[Deb, ...]
    below: tuple[str, ...]
    epoch: int
    reason: str = ""


Layer: TypeAlias = (
    RunLayer
    | PackagesLayer
    | BaseLayer
    | DebianLayer
    | InterpreterLayer
    | WheelsLayer
    | BytecodeLayer
    | RuntimeLayer
    | FilesLayer
)


def title(layer: Layer) -> str:
    """What a layer holds, in a few words that follow from its content alone (they stand in the image's history)."""
    match layer:
        case BaseLayer():
            return "base image"
        case DebianLayer():
            return f"Debian {layer.suite}, {len(layer.debs)} packages"
        case PackagesLayer():
            names = ", ".join(layer.requested)
            return f"apt-get install {names if len(names) <= 60 else f'{names[:59]}…'}"
        case InterpreterLayer():
            return f"Python {layer.version}"
        case WheelsLayer(wheels=(wheel,)):
            return f"{wheel.name} {wheel.version}"
        case WheelsLayer():
            return f"{len(layer.wheels)} Python packages"
        case RuntimeLayer():
            return f"cog {layer.version}: SDK and prediction server"
        case BytecodeLayer(of=DebianLayer() | InterpreterLayer()):
            return f"bytecode of Python {layer.version}"
        case BytecodeLayer():
            return f"bytecode of {title(layer.of)}"
        case FilesLayer(role="weights"):
            return " ".join(f"{layer.root}/{entry.path}" for entry in layer.entries)
        case FilesLayer():
            return f"code in {layer.root}"
        case RunLayer():
            return f"RUN {layer.command}" if len(layer.command) <= 80 else f"RUN {layer.command[:79]}…"
        case _:
            assert_never(layer)
