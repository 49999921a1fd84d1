"""Call a function of ours with the ids that a container has, so that files have their owners: no container, no chroot.

The function lives in a module of `builder` that needs the standard library only, takes a mapping and returns one, both
of JSON.  As real root it is simply another process.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import IO, Any

from builder import errors
from builder.errors import CogsmithError, SandboxError
from builder.sandbox.start import _launch, _names, _subordinate, all_ids, privileged

PIPE = subprocess.PIPE


class Work:
    """A function at work in a process of its own, which dies with this one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def stdin(self) -> IO[bytes]:
        """What the function reads from its standard input."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What the function writes to its standard output."""
        assert self._process.stdout is not None
        return self._process.stdout

    def result(self) -> dict[str, Any]:
        """Wait, and return what it returned.

        A `CogsmithError`, `ValueError` or `OSError` of the function is raised here; others are bugs.
        """
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        assert self._process.stderr is not None
        text = self._process.stderr.read().decode(errors="replace")
        code = self._process.wait()
        try:
            told = json.loads(text.splitlines()[-1])
        except (ValueError, IndexError) as problem:
            raise SandboxError(
                "a part of Cogsmith that works on the files of containers was ended",
                details=f"exit code {code}\n{text}",
                hint="something killed it; the kernel's log says so when memory ran out",
            ) from problem
        if "result" in told:
            found: dict[str, Any] = told["result"]
            return found
        raise _problem(told)


@contextlib.contextmanager
def work(
    module: str, function: str, arguments: Mapping[str, Any], *, stdin: bool = False, stdout: bool = False
) -> Iterator[Work]:
    """Start `module.function(arguments)`; with `stdin` or `stdout`, its streams are pipes.  It ends with the block.

    Raises `SandboxError` where this machine gives no ids.
    """
    check_ids()
    plain = {"call": {"module": module, "function": function, "arguments": dict(arguments)}}
    streams = (PIPE if stdin else subprocess.DEVNULL, PIPE if stdout else subprocess.DEVNULL, PIPE)
    with _launch(plain, scratch=None, ids="full", streams=streams) as child:
        process = child.process
        try:
            yield Work(process)
        finally:
            process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()


def check_ids() -> None:
    """`SandboxError` unless files can be given to any user of an image here: by root, or by subordinate ids."""
    if privileged() and not all_ids():
        raise SandboxError(
            "root has not all user ids here: it is in a user namespace with fewer than 65536",
            hint="give the container that this runs in a whole range of ids, or run as an ordinary user",
        )


def ids_name() -> str:
    """A word for whose ids files get here: trees that were unpacked under another one belong to others."""
    if all_ids():
        return ""
    found = [_subordinate(f"/etc/sub{kind}", _names()) for kind in ("uid", "gid")]
    starts = [str(item[0]) if item else "0" for item in found]
    return "-".join(["", str(os.geteuid()), *starts])


def _problem(told: Mapping[str, Any]) -> Exception:
    kind = getattr(errors, told["error"], None)
    if isinstance(kind, type) and issubclass(kind, CogsmithError):
        return kind(told["brief"], details=told.get("details"), hint=told.get("hint"))
    if told["errno"]:
        return OSError(told["errno"], os.strerror(told["errno"]), told["text"])
    if told["error"] == "ValueError":
        return ValueError(told["text"])
    return RuntimeError(f"{told['error']}: {told['text']}")
