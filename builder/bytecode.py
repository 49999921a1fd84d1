"""Which bytecode layers a plan has, and what compiles them.  Pure; imports `lock` and `plan` only."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from builder.lock import DebianBase, Lock
from builder.plan import (
    BytecodeLayer,
    Compiler,
    Deb,
    DebianLayer,
    InterpreterLayer,
    Layer,
    RuntimeLayer,
    Wheel,
    WheelsLayer,
)


def has_code(wheel: Wheel) -> bool:
    """Whether a wheel may hold much Python: by its tags, all but those for one platform and any Python 3.

    Such are the libraries of NVIDIA's packages, and programs; what little code they have is compiled with that of
    others.
    """
    tags = wheel.filename.removesuffix(".whl").split("-")[-3:]
    return len(tags) < 3 or not (tags[1] == "none" and tags[2] != "any" and not tags[0].startswith("cp"))


def compilers_of(lock: Lock) -> tuple[Compiler, ...]:
    """What can compile for the image's Python: what it is made of itself, and what the lock has for the purpose."""
    own: list[Compiler] = []
    architecture = lock.platform.split("/")[1]
    if lock.python is not None:
        own.append(Compiler(architecture=architecture, archive=lock.python))
    elif isinstance(lock.base, DebianBase):
        debs = compiling_debs(lock.base, minor=lock.interpreter.minor)
        if debs:
            own.append(Compiler(architecture=architecture, debs=debs))
    return (*own, *lock.compilers)


def compiling_debs(base: DebianBase, *, minor: str) -> tuple[Deb, ...]:
    """The packages of a Debian system that its Python `minor` needs to compile; none if it has no such Python."""
    names = {f"python{minor}-minimal", f"libpython{minor}-minimal", "libc6", "libexpat1", "zlib1g"}
    debs = tuple(deb for deb in base.debs if deb.package in names)
    return debs if any(deb.package == f"python{minor}-minimal" for deb in debs) else ()


def bytecode_of(
    of: WheelsLayer | RuntimeLayer | DebianLayer | InterpreterLayer,
    *,
    lock: Lock,
    compilers: tuple[Compiler, ...],
    reason: str,
) -> BytecodeLayer:
    """The layer with the bytecode of `of`, and why it is there."""
    return BytecodeLayer(
        version=lock.interpreter.version,
        of=dataclasses.replace(of, reason=""),
        compilers=compilers,
        epoch=of.epoch,
        reason=f"bytecode {reason}",
    )


def base_bytecode(layers: Sequence[Layer], *, lock: Lock, compilers: tuple[Compiler, ...]) -> list[Layer]:
    """The bytecode of the standard library, where it is ours, and of the runtime."""
    library: list[DebianLayer | InterpreterLayer] = [of for of in layers if isinstance(of, InterpreterLayer)]
    if not library:
        own = re.compile(r"(lib)?python3(\.[0-9]+)?-(minimal|stdlib|distutils|lib2to3)")
        library = [
            dataclasses.replace(of, debs=tuple(deb for deb in of.debs if own.fullmatch(deb.package)), executed=False)
            for of in layers
            if isinstance(of, DebianLayer)
        ]
    return [
        *(bytecode_of(of, lock=lock, compilers=compilers, reason="of the standard library") for of in library),
        *(
            bytecode_of(
                of, lock=lock, compilers=compilers, reason="of the server and the SDK: the server starts quicker"
            )
            for of in layers
            if isinstance(of, RuntimeLayer)
        ),
    ]
