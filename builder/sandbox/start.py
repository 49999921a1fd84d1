"""Start containers: the parent's side of `builder.sandbox_child`.

Effects: one process and one scratch directory, both gone at the end.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self, TypeAlias

from builder.errors import SandboxError
from builder.sandbox.explain import capable, explain, read
from builder.sandbox.model import Directory, Host, Ids, Mount, Network, Overlay, Spec
from builder.sandbox_child import tree

DEVNULL = subprocess.DEVNULL
Stream: TypeAlias = int | IO[Any] | None
QUIET = (DEVNULL, None, None)
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21
PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from builder.sandbox_child.main import main; main()"
HOME = Path(__file__).absolute().parents[2]
"""The folder that holds `builder`; the child finds its own few modules there, and the standard library first."""


class Child:
    """A running container.  It dies with this process, however this process ends."""

    def __init__(self, process: subprocess.Popen[bytes], control: int) -> None:
        self._process = process
        self._control = control

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervising process, for `builder.sandbox.work`."""
        return self._process

    @property
    def pid(self) -> int:
        """The supervising process on the host (never inside the container)."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        code = self._process.poll()
        return None if code is None else self._ended(code)

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait and return the exit code (128 + n for signal n).  When it returns, nothing of the container is left.

        Raises `TimeoutError` after `timeout` seconds.
        """
        try:
            return self._ended(self._process.wait(timeout))
        except subprocess.TimeoutExpired as problem:
            raise TimeoutError from problem

    def signal(self, number: int) -> None:
        """Send a signal to the command; nothing happens if it has ended.  SIGKILL ends the whole container."""
        if self._control >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._control, bytes([number]))

    def close(self) -> None:
        """Kill it if it still runs, and wait."""
        self._let_go()
        self._process.wait()

    def _ended(self, code: int) -> int:
        self._let_go()
        return code if code >= 0 else 128 - code

    def _let_go(self) -> None:
        if self._control >= 0:
            os.close(self._control)
            self._control = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start(spec: Spec, *, stdin: Stream = None, stdout: Stream = None, stderr: Stream = None) -> Child:
    """Start a container; it runs when this returns.  Streams are as for `subprocess.Popen` (`None`: inherited).

    Raises `SandboxError` when this machine cannot do it, or the command cannot be run.
    """
    plain = {
        "argv": list(spec.argv), "env": dict(spec.env), "cwd": spec.cwd, "user": spec.user, "hostname": spec.hostname,
        "network": spec.network, "init": spec.init, "tty": spec.tty, "shm_size": spec.shm_size,
        "mounts": [_given(m) for m in spec.mounts] + _host_files(spec), "processes": spec.processes,
        **_root(spec.root),
    }  # fmt: skip
    streams = (stdin, stdout, stderr)
    private = spec.private_users and _has_user_namespaces()
    return _launch(plain, scratch=spec.scratch, ids=spec.ids, streams=streams, session=spec.tty, private=private)


def run(spec: Spec, *, stdin: Stream = None, stdout: Stream = None, stderr: Stream = None) -> int:
    """Run a container to its end and return its exit code (128 + n for signal n).

    With `spec.tty`, the terminal's interrupt is for the command, and this process waits for what it makes of it.
    """
    with (
        terminal_given(spec.tty),
        start(spec, stdin=stdin, stdout=stdout, stderr=stderr) as child,
    ):
        return child.wait()


@contextlib.contextmanager
def terminal_given(given: bool, /) -> Iterator[None]:
    """With `given`, the terminal's interrupt and quit keys are for the command: this process ignores them meanwhile."""
    if not given or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def check(
    *, scratch: Path, ids: Ids = "single", network: Network = "host", root: Host | None = None
) -> list[SandboxError]:
    """What keeps this machine from running containers, found by trying; each with a hint.  Empty: nothing does.

    By default over an overlay, as containers are.
    """
    plain: dict[str, Any] = {
        "argv": [], "env": {}, "cwd": "/", "user": "", "hostname": "probe", "network": network, "init": False,
        "tty": False, "shm_size": "1m", "mounts": [], "probe": True, "processes": 0,
    }  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(dir=_made(scratch)) as empty:
            plain |= _root(root or Overlay(lower=(Path(empty),)))
            with _launch(plain, scratch=scratch, ids=ids) as child:
                child.wait()
    except SandboxError as problem:
        return [problem]
    return []


def remove_tree(path: Path) -> None:
    """Remove a tree that a container may have written: closed directories and other ids included.  Absent is fine."""
    try:
        tree.remove_tree(os.fspath(path))
    except PermissionError:
        with _launch({"remove": str(path.absolute())}, scratch=None, ids="full") as process:
            process.wait()
        if path.exists():
            raise


def privileged() -> bool:
    """Can this process do without a user namespace: real root with its capabilities, or root of an outer one."""
    return os.geteuid() == 0 and capable(CAP_SYS_ADMIN)


def all_ids() -> bool:
    """Can this process give files to any user of an image: real root, or root over a full range of ids."""
    counts = [int(line.split()[2]) for line in read("/proc/self/uid_map").splitlines()]
    return privileged() and sum(counts) >= 65536


def _root(root: Overlay | Directory | Host) -> dict[str, Any]:
    if isinstance(root, Host):
        return {"host": True}
    if isinstance(root, Directory):
        return {"directory": str(root.path.absolute()), "readonly": root.readonly}
    upper, work = (path and str(path.absolute()) for path in (root.upper, root.work))
    # The kernel takes a directory once.  Of one that is there twice, the upper place says it all: what it has is there
    # and what it hides is hidden, whatever those between do.
    lower = [str(path.absolute()) for path in reversed(root.lower)]
    return {"directory": None, "lower": list(dict.fromkeys(lower))[::-1], "upper": upper, "work": work}


def _given(mount: Mount) -> dict[str, Any]:
    plain = _mount(mount.target, source=mount.source, readonly=mount.readonly, device=mount.device)
    return plain if mount.content is None else plain | {"data": base64.b64encode(mount.content).decode()}


def _mount(
    target: str,
    *,
    source: Path | None = None,
    text: str | None = None,
    readonly: bool = False,
    device: bool = False,
) -> dict[str, Any]:
    where = None if source is None else str(source.absolute())
    return {"target": target, "source": where, "text": text, "data": None, "readonly": readonly, "device": device}


def _host_files(spec: Spec) -> list[dict[str, Any]]:
    if isinstance(spec.root, Host):
        return []
    texts = host_files(network=spec.network, hostname=spec.hostname)
    if isinstance(spec.root, Directory):  # it stays: leave no mount points behind
        texts = {name: text for name, text in texts.items() if Path(f"{spec.root.path}{name}").exists()}
    return [_mount(name, text=text) for name, text in texts.items() if name not in {m.target for m in spec.mounts}]


def host_files(*, network: Network, hostname: str) -> dict[str, str]:
    """The texts of the three files that tell a container of the network, as every engine makes them, by path."""
    hosts = read("/etc/hosts") if network == "host" else "127.0.0.1\tlocalhost\n::1\tlocalhost"
    host = " host.docker.internal" if network == "host" else ""  # as Docker Desktop calls the machine itself
    return {
        "/etc/hosts": f"{hosts}\n127.0.0.1\t{hostname}{host}\n",
        "/etc/hostname": f"{hostname}\n",
        "/etc/resolv.conf": read("/etc/resolv.conf") + "\n" if network == "host" else "",
    }


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        hint = "free some space, or move the cache with `XDG_CACHE_HOME`"
        raise SandboxError(f"could not make `{folder}`", details=str(problem), hint=hint) from problem
    return folder


def _launch(
    plain: dict[str, Any],
    *,
    scratch: Path | None,
    ids: Ids,
    streams: tuple[Stream, Stream, Stream] = QUIET,
    session: bool = False,
    private: bool = False,
) -> Child:
    enter = private or not privileged()
    single = ids == "single" if enter else not all_ids()
    usual = {"probe": False, "remove": None, "call": None, "host": False}
    plain = {**usual, "user_namespace": enter, "single": single, **plain}
    if enter and not single:
        _check_full()
    with contextlib.ExitStack() as stack:
        lock = os.open(os.devnull, os.O_RDONLY)
        if scratch is not None:
            os.close(lock)
            plain["scratch"], lock = _scratch(scratch)
        stack.callback(os.close, lock)
        control_read, control = os.pipe()
        stack.callback(os.close, control_read)
        unused = stack.enter_context(contextlib.ExitStack())
        unused.callback(os.close, control)
        status, status_write = os.pipe()
        status_file = stack.enter_context(open(status, "rb"))  # noqa: PTH123  a descriptor
        with contextlib.ExitStack() as writer:
            writer.callback(os.close, status_write)
            given = (control_read, status_write, lock)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", PROGRAM, os.fspath(HOME), *map(str, given)],
                stdin=streams[0], stdout=streams[1], stderr=streams[2], pass_fds=given, start_new_session=not session,
            )  # fmt: skip
        child = Child(process, control)
        unused.pop_all()
        stack.push(lambda kind, *_: child.close() if kind else None)
        data = json.dumps(plain).encode()
        with contextlib.suppress(BrokenPipeError):
            _write(control, len(data).to_bytes(8, "big") + data)
        ready = False
        for line in status_file:
            if line == b"map\n":
                _map_ids(process.pid)
                _write(control, b"G")
            elif line == b"ready\n":
                ready = True  # what follows is only heard if exec(2) fails
            else:
                told = json.loads(line)
                raise explain(told["stage"], told["errno"], told["text"])
        if not ready:
            raise SandboxError(
                "could not set up the container",
                details=f"`{sys.executable}` ended with {process.wait()}",
                hint="something killed it; the kernel's log says so when memory ran out",
            )
    return child


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _scratch(folder: Path) -> tuple[str, int]:
    """A new directory and the descriptor that locks it; removes those whose supervisor was killed."""
    with (_made(folder) / "sandbox.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for old in folder.glob("sandbox-*"):
            try:
                lock = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:  # its supervisor has just removed it, or it is another user's
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
            with contextlib.suppress(PermissionError):
                remove_tree(old)
        path = Path(tempfile.mkdtemp(prefix="sandbox-", dir=folder)).absolute()
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return str(path), lock


def _has_user_namespaces() -> bool:
    return Path("/proc/self/ns/user").exists() and read("/proc/sys/user/max_user_namespaces") != "0"


def _full_by_ourselves() -> bool:
    return os.geteuid() == 0 and capable(CAP_SETUID, CAP_SETGID)


def _subordinate(path: str, names: set[str]) -> tuple[int, int] | None:
    """The first range of at least 65536 ids that /etc/subuid or /etc/subgid gives to one of `names`."""
    for line in read(path).splitlines():
        name, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if name in names and first.isdigit() and count.isdigit() and int(count) >= 65535:
            return int(first), int(count)
    return None


def _names() -> set[str]:
    try:
        return {str(os.geteuid()), pwd.getpwuid(os.geteuid()).pw_name}
    except KeyError:
        return {str(os.geteuid())}


def missing_ids() -> list[SandboxError]:
    """What this user lacks to give files to all users of an image, all of it; empty for root."""
    if privileged() or _full_by_ourselves():
        return []
    name = max(_names(), key=lambda word: not word.isdigit())
    problems = [
        SandboxError(
            f"could not find `{tool}`, which maps user ids in containers that change owners",
            hint="install it (Debian and Ubuntu: `apt install uidmap`, Fedora: `shadow-utils`), or run as root",
        )
        for tool in ("newuidmap", "newgidmap")
        if shutil.which(tool) is None
    ]
    problems += [
        SandboxError(
            f"`{path}` gives user `{name}` no 65536 ids, which containers that change owners need",
            hint=f"`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}`, or run as root",
        )
        for path in ("/etc/subuid", "/etc/subgid")
        if _subordinate(path, _names()) is None
    ]
    return problems


def _check_full() -> None:
    for problem in missing_ids():
        raise problem


def _map_ids(pid: int) -> None:
    """Write the maps of the child's user namespace: ourselves where we may, else by newuidmap(1)."""
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        if _full_by_ourselves():
            ranges = [line.split() for line in read(f"/proc/self/{kind}_map").splitlines()]
            text = "".join(f"{first} {first} {count}\n" for first, _, count in ranges)
            Path(f"/proc/{pid}/{kind}_map").write_text(text, encoding="utf-8")
            continue
        found = _subordinate(f"/etc/sub{kind}", _names())
        assert found is not None  # _check_full
        words = [f"new{kind}map", str(pid), "0", str(own), "1", "1", str(found[0]), str(found[1])]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SandboxError(
                "could not map user ids",
                details=f"{' '.join(words)}\n{done.stderr.strip()}",
                hint=f"`{words[0]}` must be set-uid root, or have capabilities; /etc/sub{kind} must give the range",
            )
