"""`--debug-shell`: a shell on the terminal, in the state that a failed command left."""

from __future__ import annotations

import os
import pty
import sys
import time
from pathlib import Path

from builder.plan import BaseLayer
from builder.store import Store

PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from builder.backends import Execution
from builder.errors import BackendError
from builder.store import Store
from {package}.bases import Lines, make, plan_of, put_base
with Store.open(Path({store!r})) as store:
    base = put_base(store, Path({tar!r}).read_bytes())
    try:
        make(plan_of(base, "echo $((40 + 2)) > /state; exit 9"), store=store, execution=Execution(debug_shell=True))
    except BackendError as problem:
        print("THEN", problem.details.splitlines()[-2])
"""


def test_a_shell_in_the_state_of_the_failure(store: Store, base: BaseLayer, tmp_path: Path, tar: bytes) -> None:
    (tmp_path / "tar").write_bytes(tar)
    package = __name__.rpartition(".")[0]
    paths = [path or os.getcwd() for path in sys.path]
    program = PROGRAM.format(paths=paths, package=package, store=str(store.root), tar=str(tmp_path / "tar"))
    told = told_at_a_terminal(program)
    assert b"\r\n42\r\n" in told, told.decode()
    assert b"pip3" in told
    assert b"THEN ended with exit code 9" in told
    assert not [path for path in (store.root / "tmp").iterdir() if path.is_dir()]


def told_at_a_terminal(program: str) -> bytes:
    """What a program shows that opens a shell, in which the state is looked at."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    told = b""
    sent = False
    deadline = time.monotonic() + 60
    while b"exit code 9" not in told and time.monotonic() < deadline:
        try:
            told += os.read(terminal, 4096)
        except OSError:  # nobody has the other end any more
            break
        if not sent and (b"# " in told or b"$ " in told):
            os.write(terminal, b"cat /state; ls /run/cogsmith/bin; exit\n")
            sent = True
    os.waitpid(pid, 0)
    os.close(terminal)
    return told
