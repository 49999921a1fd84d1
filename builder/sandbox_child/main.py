"""From a wish on a pipe to a running command.

Stdlib only, and nothing imported late: after `pivot_root` the interpreter's own files are gone.
`builder.sandbox.start` runs `main()` with three inherited descriptors (control, status, lock), and this process becomes
three: the *supervisor* stays outside, ends the container when the control pipe closes (its parent died, however it
died) and removes the scratch directory; *PID 1* lives in the namespaces; the *command* is its child, or PID 1 itself.
The status pipe carries lines: `map` (the parent is to write the id maps), `ready` (about to execute), or one JSON
object naming the stage that failed.
"""

# ruff: noqa: S606
# System calls go by their own names here.

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from builder.sandbox_child.group import join_group, leave_group, make_group
from builder.sandbox_child.kernel import (
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUTS,
    StageError,
    bar_core_access,
    bar_typing,
    call,
    die_with_parent,
    leave_keyring,
)
from builder.sandbox_child.root import build_root, make_target, stay_outside
from builder.sandbox_child.tree import remove_tree
from builder.sandbox_child.user import drop_privileges, enter_user_namespace


def main() -> NoReturn:
    """Supervisor: go into the namespaces, start PID 1, wait, clean up."""
    control, status, lock = (int(word) for word in sys.argv[1:4])
    for descriptor in (control, status, lock):
        os.set_inheritable(descriptor, False)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # the parent decides, through the control pipe
    spec = read_spec(control)

    def work() -> None:
        if spec["user_namespace"]:
            enter_user_namespace(spec, status, control)
        if spec["remove"]:
            remove_tree(spec["remove"])
            os.write(status, b"ready\n")
            os._exit(0)
        if spec["call"]:
            do_work(spec["call"], status, control)
        alive, hold = os.pipe2(os.O_CLOEXEC)
        call("namespaces", "unshare", NEWPID)
        group = make_group(spec["processes"])
        first = os.fork()
        if first == 0:
            join_group(group)
            for descriptor in (control, hold, lock):
                os.close(descriptor)
            guarded(status, lambda: be_first(spec, status, alive))
        os.close(alive)
        os.close(status)
        silence()
        code = supervise(spec, control, first)
        leave_group(group)
        with contextlib.suppress(OSError):  # the next start tries again
            remove_tree(spec["scratch"])
        os._exit(code)

    def cleaning() -> None:
        try:
            work()
        except BaseException:
            with contextlib.suppress(OSError):
                remove_tree(spec.get("scratch", ""))
            raise

    guarded(status, cleaning)


def do_work(work: dict[str, Any], status: int, control: int) -> NoReturn:
    """Call a function of ours here, outside any container, with the ids that a container has.

    What it returns or raises goes to standard error as one line of JSON; standard input and output are its own.
    """
    die_with_parent()
    os.umask(0o022)
    poll = select.poll()
    poll.register(control, 0)  # POLLHUP comes unasked
    if poll.poll(0):
        os._exit(125)  # the parent was gone before the line above
    os.write(status, b"ready\n")
    os.close(status)
    try:
        function = getattr(importlib.import_module(work["module"]), work["function"])
        told = {"result": function(work["arguments"])}
    except Exception as problem:  # noqa: BLE001  told to the parent, which raises it
        told = {"error": type(problem).__name__, "errno": getattr(problem, "errno", None), "text": str(problem)}
        told |= {name: getattr(problem, name) for name in ("brief", "details", "hint") if hasattr(problem, name)}
    os.write(2, json.dumps(told).encode() + b"\n")
    os._exit(0)


def read_spec(control: int) -> dict[str, Any]:
    """The parent's wishes: eight bytes of length, then JSON."""

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = os.read(control, count - len(data))
            if not more:
                os._exit(125)
            data += more
        return data

    spec: dict[str, Any] = json.loads(exactly(int.from_bytes(exactly(8), "big")))
    return spec


def guarded(status: int, work: Callable[[], None]) -> NoReturn:
    """Do `work`, which does not return; tell the parent of any failure."""
    try:
        work()
    except StageError as problem:
        told = {"stage": problem.stage, "errno": problem.code, "text": problem.text}
    except BaseException as problem:  # noqa: BLE001  told to the parent, which raises it
        code = problem.errno if isinstance(problem, OSError) else 0
        told = {"stage": "internal", "errno": code or 0, "text": f"{type(problem).__name__}: {problem}"}
    else:
        told = {"stage": "internal", "errno": 0, "text": "the work came back"}
    os.write(status, json.dumps(told).encode() + b"\n")
    os._exit(125)


def supervise(spec: dict[str, Any], control: int, first: int) -> int:
    """Wait for PID 1, passing on signals from the control pipe; its end means that nobody waits any more."""
    wake, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ring)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(control, select.POLLIN)
    while True:
        done, result = os.waitpid(first, os.WNOHANG)
        if done:
            return exit_code(result)
        ready = [descriptor for descriptor, _ in poll.poll()]
        if wake in ready:
            os.read(wake, 512)
        if control in ready:
            wanted = os.read(control, 512)
            if not wanted:
                os.kill(first, signal.SIGKILL)
                poll.unregister(control)
            for number in wanted:
                forward = spec["init"] and number not in (signal.SIGKILL, signal.SIGSTOP)
                os.kill(first, signal.SIGRTMIN + number if forward else number)


def be_first(spec: dict[str, Any], status: int, alive: int) -> NoReturn:
    """PID 1: set up, then run the command, forward to it (`SIGRTMIN + n` means n) and reap whatever is orphaned."""
    die_with_parent()
    if select.select([alive], [], [], 0)[0]:
        os._exit(125)  # the supervisor was gone before the line above
    os.close(alive)
    tty = os.ttyname(0) if spec["tty"] and os.isatty(0) else None
    leave_keyring()
    call("namespaces", "unshare", NEWNS | NEWIPC | NEWUTS | (NEWNET if spec["network"] == "none" else 0))
    if spec["network"] == "none":
        raise_loopback()
    os.umask(0o022)
    if spec["host"]:
        stay_outside(spec)
    else:
        build_root(spec, tty)
    host = spec["hostname"].encode()
    call("hostname", "sethostname", host, len(host))
    if spec["probe"]:
        os.write(status, b"ready\n")
        os._exit(0)
    if not spec["init"]:
        execute(spec, status)
    bar_core_access()  # or /proc/1/exe would be a way to the host's interpreter
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    command = os.fork()
    if command == 0:
        guarded(status, lambda: execute(spec, status))
    os.close(status)
    silence()
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    for number in range(1, signal.SIGRTMAX - signal.SIGRTMIN + 1):
        signal.signal(signal.SIGRTMIN + number, lambda got, _: os.kill(command, got - signal.SIGRTMIN))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    while True:
        pid, result = os.waitpid(-1, 0)
        if pid == command:
            os._exit(exit_code(result))


def execute(spec: dict[str, Any], status: int) -> NoReturn:
    """Become the command, or say why not."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    try:
        make_target(spec["cwd"], directory=True)
        if (
            spec["processes"] and spec["user_namespace"]
        ):  # counted in the namespace alone; real root is never limited so
            resource.setrlimit(resource.RLIMIT_NPROC, (spec["processes"], spec["processes"]))
        if spec["tty"]:
            bar_typing()
        if not spec["host"]:
            drop_privileges(spec)
        os.chdir(spec["cwd"])
    except OSError as problem:
        raise StageError("cwd", problem.errno or 0, spec["cwd"]) from problem
    die_with_parent()  # again: ids changed
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.write(status, b"ready\n")
    program = spec["argv"][0]
    folders = [""] if "/" in program else [f"{folder or '.'}/" for folder in spec["env"].get("PATH", "").split(":")]
    told = errno.ENOENT
    for folder in folders:  # not os.execvpe, which imports `warnings` first
        try:
            os.execve(folder + program, spec["argv"], spec["env"])
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.ENOTDIR):
                told = problem.errno or 0
    raise StageError("exec", told, program)


def exit_code(result: int) -> int:
    """What a shell calls it: the code, or 128 + signal."""
    code = os.waitstatus_to_exitcode(result)
    return code if code >= 0 else 128 - code


def silence() -> None:
    """Let go of the standard streams: only the command holds them, so that their readers see the end."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)


def raise_loopback() -> None:
    """Bring up `lo` in a network namespace of our own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS
