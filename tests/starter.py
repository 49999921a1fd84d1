"""Starts the program in a quarter of the time: a process that has imported it forks one for each run.

Each run is a process of its own, with its own environment, folder, mask and streams, that ends as the program ends.
Importing is what is shared, so whoever tests how the program starts, or changes what Python itself reads at its start
(`differs`), has to start it for real.  Run as a script, this is the process that forks.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import re
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
_PYTHONS = re.compile(r"PYTHON|LC_|LANG|LD_|TZ$|MALLOC|COVERAGE")
"""Variables that are read before any code of ours."""

_started: list[tuple[socket.socket, subprocess.Popen[bytes]]] = []
_lock = threading.Lock()


def differs(env: Mapping[str, str]) -> bool:
    """Whether Python itself would start otherwise in `env` than it did here."""
    names = {name for name in {*env, *os.environ} if _PYTHONS.match(name)} - {"PYTHONPATH"}
    return env.get("PYTHONPATH") != str(ROOT) or any(env.get(name) != os.environ.get(name) for name in names)


def run(
    arguments: list[str], *, cwd: Path, env: Mapping[str, str], stdin: str | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """`python -m builder.cli` with `arguments`; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
    reading, writing = {}, {}
    for name in ("out", "err", "status"):
        reading[name], writing[name] = os.pipe()
    source, feed = os.pipe() if stdin is not None else (os.open(os.devnull, os.O_RDONLY), -1)
    request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "umask": _umask()}
    data = json.dumps(request).encode(errors="surrogateescape")
    fds = [source, writing["out"], writing["err"], writing["status"]]
    with _lock:
        control = _server()
        socket.send_fds(control, [len(data).to_bytes(8, "big")], fds)
        control.sendall(data)
    for fd in fds:
        os.close(fd)
    read: dict[str, bytes] = {}
    threads = [
        threading.Thread(target=_drain, args=(reading[name], read, name), daemon=True) for name in ("out", "err")
    ]
    for thread in threads:
        thread.start()
    if stdin is not None:
        threading.Thread(target=_feed, args=(feed, stdin.encode()), daemon=True).start()
    end = time.monotonic() + timeout
    with os.fdopen(reading["status"], "rb", buffering=0) as status:
        pid = _number(status)
        if not select.select([status], [], [], timeout)[0]:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["cogsmith", *arguments], timeout)
        code = os.waitstatus_to_exitcode(_number(status))
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
        if thread.is_alive():
            raise subprocess.TimeoutExpired(["cogsmith", *arguments], timeout)
    out, err = (io.TextIOWrapper(io.BytesIO(read[name]), encoding="utf-8").read() for name in ("out", "err"))
    return subprocess.CompletedProcess(["cogsmith", *arguments], code, out, err)


def _server() -> socket.socket:
    if not _started:
        ours, theirs = socket.socketpair()
        with theirs:
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            child = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                cwd="/",
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        _started.append((ours, child))
    return _started[0][0]


def _number(status: IO[bytes]) -> int:
    data = status.read(8)
    assert len(data) == 8, "the process that starts the program is gone"
    return int.from_bytes(data, "big")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _drain(fd: int, into: dict[str, bytes], name: str) -> None:
    with os.fdopen(fd, "rb") as file:
        into[name] = file.read()


def _feed(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(fd, "wb") as file:
        file.write(data)


def _serve(control: socket.socket) -> None:
    """Fork for each request until the other side is gone; returns in the child, whose run it is."""
    ready = selectors.DefaultSelector()
    ready.register(control, selectors.EVENT_READ)
    running: dict[int, tuple[int, int]] = {}  # a descriptor of the process: its number, and where its status goes
    while True:
        for key, _ in ready.select():
            if key.fileobj is not control:
                assert isinstance(key.fileobj, int)
                pid, status = running.pop(key.fileobj)
                ready.unregister(key.fileobj)
                os.close(key.fileobj)
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, os.waitpid(pid, 0)[1].to_bytes(8, "big"))
                os.close(status)
                continue
            head, fds, _, _ = socket.recv_fds(control, 8, 4)
            if not head:
                sys.exit(0)
            request = json.loads(_exactly(control, int.from_bytes(head, "big")).decode(errors="surrogateescape"))
            pid = os.fork()
            if not pid:
                ready.close()
                control.close()
                for process, status in running.items():
                    os.close(process)
                    os.close(status[1])
                _become(request, fds)
                return
            for fd in fds[:3]:
                os.close(fd)
            with contextlib.suppress(BrokenPipeError):
                os.write(fds[3], pid.to_bytes(8, "big"))
            process = os.pidfd_open(pid)
            running[process] = (pid, fds[3])
            ready.register(process, selectors.EVENT_READ)


def _exactly(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += control.recv(size - len(data))
    return data


def _become(request: dict[str, object], fds: list[int]) -> None:
    for target, fd in enumerate(fds[:3]):
        os.dup2(fd, target)
    for fd in fds:
        os.close(fd)
    encoding = sys.stdout.encoding
    sys.stdin = os.fdopen(0, encoding=encoding)
    sys.stdout = os.fdopen(1, "w", encoding=encoding)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace", buffering=1)
    os.umask(request["umask"])  # type: ignore[arg-type]
    os.chdir(request["cwd"])  # type: ignore[arg-type]
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[arg-type]
    sys.argv = ["cogsmith", *request["arguments"]]  # type: ignore[misc]
    sys.path[0] = str(request["cwd"])  # as `python -m` has it


def _import_all() -> None:
    import builder

    for module in pkgutil.walk_packages(builder.__path__, "builder."):
        if not module.name.startswith("builder.sandbox_child") and not module.name.endswith("__main__"):
            with contextlib.suppress(Exception):  # whoever needs it imports it again, and fails
                importlib.import_module(module.name)
    for name in ("concurrent.futures.thread", "requests", "sqlite3", "uv", "yaml"):
        importlib.import_module(name)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which ends this by its end
    _import_all()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from builder.cli import main

    main()
