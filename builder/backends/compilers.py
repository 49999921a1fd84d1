"""The interpreters that compile bytecode layers: unpacked once a build, when they are wanted, and run."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from builder import process
from builder.layers.bytecode import Compile
from builder.layers.pythons import Program, unpack_interpreter
from builder.plan import BytecodeLayer, Compiler, to_plain


class Compilers:
    """Those of one build, unpacked below `scratch`, a folder of the caller's."""

    def __init__(self, *, inputs: Mapping[str, Path], scratch: Path) -> None:
        self._inputs = inputs
        self._scratch = scratch
        self._lock = threading.Lock()
        self._known: dict[Compiler, Program] = {}

    def of(self, layer: BytecodeLayer, *, compiler: Compiler | None) -> Compile:
        """What compiles for `layer`: `compiler`, one of its own that runs here.  Safe in threads."""
        assert compiler is not None
        with self._lock:
            if compiler not in self._known:
                target = self._scratch / f"python-{len(self._known)}"
                target.mkdir()
                self._known[compiler] = unpack_interpreter(
                    to_plain(compiler), version=layer.version, inputs=self._inputs, target=target
                )
            program = self._known[compiler]

        def run(requests: BinaryIO, answers: BinaryIO) -> None:
            process.convert(
                program.argv,
                purpose=f"compile bytecode with Python {layer.version}",
                source=requests,
                target=answers,
                env=program.env,
                cwd=self._scratch,
                hint="build with --no-bytecode to leave it out",
            )

        return run
