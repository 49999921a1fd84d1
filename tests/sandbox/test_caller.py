"""What the caller has and a command must not: its terminal's input, and the keys of its session."""

from __future__ import annotations

import os
import pickle
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder import sandbox

from .boxes import Box

TYPE = """
import fcntl, sys, termios
for number in (termios.TIOCSTI, 0x541C, (1 << 32) | termios.TIOCSTI):
    try:
        fcntl.ioctl(0, number & 0xFFFFFFFF, b"x")
    except PermissionError:
        print("refused")
    else:
        print("typed")
print("size", len(fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))), flush=True)
"""


def test_a_command_cannot_type_into_the_callers_terminal(box: Box) -> None:
    """Else what it typed would be the next command of the caller's shell (CVE-2017-5226 of others)."""
    if shutil.which("python3", path="/usr/bin") is None:
        pytest.skip("no /usr/bin/python3")
    child, terminal = pty.fork()
    if child == 0:
        code = 99
        try:
            code = sandbox.run(box.spec("/usr/bin/python3", "-c", TYPE, tty=True))
        finally:
            os.write(1, f"ended {code}\n".encode())
            os._exit(0)
    seen, deadline = b"", time.monotonic() + 60
    try:
        while b"ended" not in seen and time.monotonic() < deadline:
            seen += os.read(terminal, 4096)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    assert seen.split() == [b"refused"] * 3 + [b"size", b"8", b"ended", b"0"]


KEYCTL, ADD_KEY = {"x86_64": (250, 248), "aarch64": (219, 217)}.get(os.uname().machine, (0, 0))
JOIN, SEARCH, READ, SESSION = 1, 10, 11, -3
KEYS = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
key = libc.syscall({KEYCTL}, {SEARCH}, {SESSION}, b"user", b"of-the-caller", 0)
data = ctypes.create_string_buffer(16)
print("found", data.raw[:6] if key > 0 and libc.syscall({KEYCTL}, {READ}, key, data, 16) > 0 else None)
print("added", libc.syscall({ADD_KEY}, b"user", b"of-the-command", b"x", 1, {SESSION}) > 0)
"""
CALLER = """
import ctypes, pickle, sys
from pathlib import Path
from builder import sandbox
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
keyctl, add_key, join, search, session = map(int, sys.argv[2:])
if libc.syscall(keyctl, join, None) < 0 or libc.syscall(add_key, b"user", b"of-the-caller", b"secret", 6, session) < 0:
    sys.exit("no keyrings")
assert sandbox.run(pickle.loads(Path(sys.argv[1]).read_bytes()), stdin=sandbox.DEVNULL) == 0
print("planted", libc.syscall(keyctl, search, session, b"user", b"of-the-command", 0) > 0)
"""


def test_a_command_has_a_session_keyring_of_its_own(box: Box, tmp_path: Path) -> None:
    if not KEYCTL or shutil.which("python3", path="/usr/bin") is None:
        pytest.skip("needs the numbers of this machine's calls, and /usr/bin/python3")
    (tmp_path / "spec").write_bytes(pickle.dumps(box.spec("/usr/bin/python3", "-c", KEYS)))
    numbers = map(str, (KEYCTL, ADD_KEY, JOIN, SEARCH, SESSION))
    words = [sys.executable, "-c", CALLER, tmp_path / "spec", *numbers]
    env = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parents[2])}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if "no keyrings" in done.stderr:
        pytest.skip("this kernel has no keyrings for us")
    assert done.stdout.split("\n")[:3] == ["found None", "added True", "planted False"], done.stderr
