"""Every subprocess of the builder but the sandbox starts here.  Imports `errors` only; never prints."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from builder.errors import BackendError, CogsmithError

Process: typing.TypeAlias = "subprocess.Popen[bytes]"
Late = subprocess.TimeoutExpired
"""What a process's `wait` raises when it takes longer than it was given."""

LAST_LINES = 20
"""How much of a failed program's output goes into the error."""


def find(name: str, *, purpose: str, hint: str | None = None) -> str:
    """The absolute path of program `name`; a `BackendError` that says what it is needed for if there is none."""
    path = shutil.which(name)
    if path is None:
        raise BackendError(f"could not find `{name}`, which is required to {purpose}", hint=hint)
    return path


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    purpose: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    error: type[CogsmithError] = BackendError,
    hint: str | None = None,
) -> bytes:
    """Run a program to its end and return its standard output.

    `purpose` completes "could not ..." in the error, which holds the command to paste and the last lines of its
    standard error.  `env` replaces the environment; `error` is the class raised when the program fails.
    """
    command = [os.fspath(word) for word in argv]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, env=env, cwd=cwd, check=False)
    except OSError as problem:
        raise error(f"could not {purpose}: {problem.strerror}", details=shlex.join(command), hint=hint) from problem
    if done.returncode:
        raise error(f"could not {purpose}", details=explain(command, done.returncode, done.stderr, cwd=cwd), hint=hint)
    return done.stdout


def convert(
    argv: Sequence[str],
    *,
    purpose: str,
    source: IO[bytes],
    target: IO[bytes],
    env: Mapping[str, str],
    cwd: Path,
    hint: str | None = None,
) -> None:
    """Run a program from the open file `source` to the open file `target`; `BackendError` as `run` has it."""
    try:
        done = subprocess.run(
            list(argv), stdin=source, stdout=target, stderr=subprocess.PIPE, env=env, cwd=cwd, check=False
        )
    except OSError as problem:
        raise BackendError(f"could not {purpose}: {problem.strerror}", details=argv[0], hint=hint) from problem
    if done.returncode:
        raise BackendError(
            f"could not {purpose}", details=explain(argv[:1], done.returncode, done.stderr, cwd=cwd), hint=hint
        )


def attempt(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> tuple[int, bytes, bytes]:
    """Run a program whose failure is an answer too: exit code, output, standard error.  May raise `OSError`."""
    done = subprocess.run(list(argv), input=stdin, capture_output=True, env=env, cwd=cwd, check=False)
    return done.returncode, done.stdout, done.stderr


def start(
    argv: Sequence[str],
    *,
    stdin: int | typing.IO[typing.Any] | None,
    stdout: int | typing.IO[typing.Any] | None,
    stderr: int | typing.IO[typing.Any] | None,
    session: bool,
) -> Process:
    """Start a program that the caller waits for; with `session`, the terminal's signals do not reach it.

    Streams are as for `subprocess.Popen`.
    """
    return subprocess.Popen(list(argv), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=session)


def detach(argv: Sequence[str]) -> bool:
    """Start a program that outlives this one and shares none of its streams; whether there is such a program."""
    if shutil.which(argv[0]) is None:
        return False
    quiet = subprocess.DEVNULL
    subprocess.Popen(list(argv), stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    return True


def explain(command: Sequence[str], code: int, output: bytes, *, cwd: Path | None = None) -> str:
    """What a person needs to reproduce a failed command: the command, how it ended, its last lines."""
    ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
    place = f"cd {shlex.quote(str(cwd))} && " if cwd else ""
    lines = output.decode(errors="replace").rstrip().splitlines()[-LAST_LINES:]
    return "\n".join([f"command: {place}{shlex.join(command)}", f"ended with {ended}", *lines])


def is_running(pid: int) -> bool:
    """Whether there is a process of that number (it may be another one by now)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
