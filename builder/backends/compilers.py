"""The interpreters that compile bytecode layers: unpacked once a build, when they are wanted, and run.

A lock names them, so they are foreign programs: they run in our sandbox, where this machine has what that needs.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from builder import process, sandbox
from builder.errors import BackendError
from builder.layers.bytecode import Compile
from builder.layers.pythons import Program, unpack_interpreter
from builder.plan import BytecodeLayer, Compiler, to_plain

HINT = "build with --no-bytecode to leave it out"

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
"""What of this machine an interpreter of an archive needs: the C library, and who loads it.  Debian's needs none."""


class Compilers:
    """Those of one build, unpacked below `scratch`, a folder of the caller's."""

    def __init__(self, *, inputs: Mapping[str, Path], scratch: Path) -> None:
        self._inputs = inputs
        self._scratch = scratch
        self._lock = threading.Lock()
        self._known: dict[Compiler, Program] = {}
        self._sandboxed: bool | None = None

    def of(self, layer: BytecodeLayer, *, compiler: Compiler | None) -> Compile:
        """What compiles for `layer`: `compiler`, one of its own that runs here.  Safe in threads."""
        assert compiler is not None
        with self._lock:
            if self._sandboxed is None:
                self._sandboxed = not sandbox.check(scratch=self._scratch / "probe", network="none")
            if compiler not in self._known:
                target = self._scratch / f"python-{len(self._known)}"
                target.mkdir()
                self._known[compiler] = unpack_interpreter(
                    to_plain(compiler), version=layer.version, inputs=self._inputs, target=target
                )
            program = self._known[compiler]
        purpose = f"compile bytecode with Python {layer.version}"

        def run(requests: BinaryIO, answers: BinaryIO) -> None:
            if self._sandboxed:
                self._run_confined(program, purpose=purpose, requests=requests, answers=answers)
                return
            process.convert(
                program.argv,
                purpose=purpose,
                source=requests,
                target=answers,
                env=program.env,
                cwd=self._scratch,
                hint=HINT,
            )

        return run

    def _run_confined(self, program: Program, *, purpose: str, requests: BinaryIO, answers: BinaryIO) -> None:
        """It sees its own files and this machine's libraries: no home, no network, nothing to write to that is kept."""
        place = Path(tempfile.mkdtemp(prefix="run-", dir=self._scratch))
        root = place / "root"
        root.mkdir()
        spec = sandbox.Spec(
            root=sandbox.Directory(path=root),
            argv=program.argv,
            env=tuple(program.env.items()),
            mounts=tuple(
                sandbox.Mount(target=str(path), source=Path(path), readonly=True)
                for path in (*filter(os.path.exists, LIBRARIES), str(self._scratch))
            ),
            scratch=place / "sandbox",
            network="none",
            init=False,
            private_users=True,
        )
        with tempfile.TemporaryFile(dir=self._scratch) as told:
            code = sandbox.run(spec, stdin=requests, stdout=answers, stderr=told)
            if code:
                told.seek(0)
                details = process.explain(program.argv[:1], code, told.read(1 << 20))
                raise BackendError(f"could not {purpose}", details=details, hint=HINT)
