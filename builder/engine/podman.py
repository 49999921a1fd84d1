"""Containers by podman: the engine's calls as command lines.  The image goes into podman's storage once, as it is.

Network, mounts, environment, signals and exit codes are those of our own containers; what starts is removed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from builder import process, sandbox
from builder.engine import cdi, containers_storage, platform
from builder.engine.container import GRACE, INITS, Options
from builder.engine.unpack import Fetch
from builder.errors import SandboxError
from builder.report import Quiet, Report
from builder.sandbox import Mount
from builder.store import Store, StoredImage

HOSTNAME = "cogsmith"
SHM_SIZE = "6g"
PROCESSES = 32768
"""Most processes of a container's user: what podman leaves itself."""
INIT_FOLDERS = ("/usr/libexec/podman", "/usr/lib/podman", "/usr/libexec/catatonit")
_PROGRAM = "/bin/true"
_NO_PROGRAM = "attempted to invoke a command that was not found"
_QUIET = ("--log-level", "error")


class Container:
    """A container of podman's, and the process that is attached to it; close it."""

    def __init__(self, attached: process.Process, *, tool: str, name: str, hold: contextlib.ExitStack) -> None:
        self._attached = attached
        self._tool = tool
        self._name = name
        self._hold = hold

    @property
    def name(self) -> str:
        """What podman calls it."""
        return self._name

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        code = self._attached.poll()
        return code if code is None or code >= 0 else 128 - code

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the command and return its exit code (128 + n for signal n); `TimeoutError` after `timeout` s."""
        try:
            code = self._attached.wait(timeout)
        except process.Late as problem:
            raise TimeoutError from problem
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal to the command, past the podman that is attached: an ordinary user's may end by it itself."""
        if self._attached.poll() is not None:
            return
        code, _, _ = process.attempt([self._tool, *_QUIET, "kill", "--signal", str(int(number)), self._name])
        if code and self._attached.poll() is None:  # there is none yet
            self._attached.send_signal(number)

    def stop(self, *, grace: float = GRACE) -> int:
        """SIGTERM, after `grace` seconds SIGKILL; the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout=grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return self.wait()

    def close(self) -> None:
        """Remove it, killed if it still runs."""
        with self._hold:
            process.attempt([self._tool, *_QUIET, "rm", "--force", "--time", "0", "--ignore", self._name])
            with contextlib.suppress(process.Late):
                self._attached.wait(GRACE)
            self._attached.kill()
            self._attached.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()


def start(
    image: StoredImage,
    *,
    store: Store,
    options: Options | None = None,
    report: Report | None = None,
    fetch: Fetch | None = None,
) -> Container:
    """Start a container from an image of the store, which podman gets first unless it has it; see `Engine.start`.

    Raises `BackendError` where podman is absent or fails, `SandboxError` where it cannot run containers.
    """
    report = report or Quiet()
    options = options or Options()
    platform.check(image.config)
    tool = _program()
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.using(report=report))
        reference = containers_storage.deliver(image, store=store, program="podman", report=report, fetch=fetch)
        work = stack.enter_context(store.scratch())
        name = f"cogsmith-{work.name[:12]}"
        front = runtime_options(reference, tool=tool, store=store, report=report)
        variables = work / "env"
        variables.touch(mode=0o600)  # not in a command line, which everybody can read
        env = {**_home(image), **options.env}
        variables.write_text("".join(f"{key}={value}\n" for key, value in env.items() if "\n" not in value))
        words = arguments(image, options=options, variables=variables, interactive=_is_terminal(options))
        argv = [tool, *front, *_QUIET, "run", "--name", name, *words, reference]
        _end_with_us(tool, name, stack=stack)
        argv += options.command or ()
        attached = process.start(
            argv, stdin=options.stdin, stdout=options.stdout, stderr=options.stderr, session=not options.tty
        )
        return Container(attached, tool=tool, name=name, hold=stack.pop_all())


def run(
    image: StoredImage,
    *,
    store: Store,
    options: Options | None = None,
    report: Report | None = None,
    fetch: Fetch | None = None,
) -> int:
    """Run a container to its end and return its exit code; interrupts as with our own containers."""
    options = options or Options()
    with (
        sandbox.terminal_given(options.tty),
        start(image, store=store, options=options, report=report, fetch=fetch) as container,
    ):
        try:
            return container.wait()
        except KeyboardInterrupt:
            container.stop()
            raise


def arguments(image: StoredImage, *, options: Options, variables: Path, interactive: bool) -> list[str]:
    """The options of `podman run` for `options`; `variables` is the file that holds the environment.

    Variables of several lines, which such a file cannot hold, are in the command line.
    """
    inner: dict[str, Any] = image.config.get("config") or {}
    entrypoint = tuple(inner.get("Entrypoint") or ())
    argv = entrypoint + (options.command if options.command is not None else tuple(inner.get("Cmd") or ()))
    if not argv:
        raise SandboxError("the image has no command to run", hint="name one: `cogsmith exec COMMAND`")
    words = ["--rm", "--pull", "never", "--log-driver", "none", "--network", options.network]
    words += ["--hostname", HOSTNAME, "--shm-size", SHM_SIZE, *_limits(), "--security-opt", "label=disable"]
    words += ["--add-host", "host.docker.internal:127.0.0.1"] if options.network == "host" else []
    words += ["--workdir", options.workdir] if options.workdir else []
    words += ["--entrypoint", json.dumps(entrypoint)] if options.command == () else []  # which drops `Cmd`
    words += ["--env-file", os.fspath(variables)]
    words += [word for key, value in options.env.items() if "\n" in value for word in ("--env", f"{key}={value}")]
    words += (
        ["--tty", "--interactive"] if interactive else [] if options.stdin == sandbox.DEVNULL else ["--interactive"]
    )
    if argv[0].rpartition("/")[2] not in INITS and _has_init():
        words.append("--init")
    devices, mounts = cdi.replaced(options.mounts)
    words += [word for device in devices for word in ("--device", device)]
    return words + [word for mount in mounts for word in _mounted(mount)]


def _home(image: StoredImage) -> dict[str, str]:
    """Root's, as in our own containers, also where the image has no /etc/passwd to say so."""
    inner: dict[str, Any] = image.config.get("config") or {}
    named = any(word.startswith("HOME=") for word in inner.get("Env") or ())
    return {} if named or inner.get("User") else {"HOME": "/root"}


def _mounted(mount: Mount) -> list[str]:
    if mount.source is None:
        return ["--tmpfs", mount.target]
    source = os.fspath(mount.source.absolute())
    if mount.device:
        return ["--device", f"{source}:{mount.target}"]
    if ":" in source:  # which a volume's fields are parted by
        field = '"' + f"source={source}".replace('"', '""') + '"' if set(source) & set(',"') else f"source={source}"
        return ["--mount", f"type=bind,{field},target={mount.target}{',readonly' if mount.readonly else ''}"]
    return ["--volume", f"{source}:{mount.target}{':ro' if mount.readonly else ''}"]


def runtime_options(reference: str, *, tool: str, store: Store, report: Report) -> tuple[str, ...]:
    """Which OCI runtime podman is to use: its own choice if that works here, else one that does; remembered.

    Nothing of the image runs for that: a container is set up (`podman init`) and removed.  `SandboxError` with what
    podman says if none works.
    """
    found = [path for name in ("crun", "runc") if (path := shutil.which(name, path=_path())) is not None]
    stamps = [(path, os.stat(path).st_mtime_ns) for path in (tool, *found)]  # noqa: PTH116
    key = repr([stamps, os.uname().release, os.geteuid()])
    if (known := store.memo("podman", key)) is not None:
        return tuple(known.split())
    choices: list[tuple[str, ...]] = [(), *(("--runtime", path) for path in found)]
    choices += [("--cgroup-manager", "cgroupfs", *choice) for choice in choices]
    told = ""
    for choice in choices:
        works, said = _works(tool, choice, reference=reference)
        if works:
            store.remember("podman", key, " ".join(choice))
            if choice:
                report.note(f"podman works here with `{' '.join(choice)}`")
            return choice
        told = told or said
    raise SandboxError(
        "podman cannot run containers here", details=told.strip() or None, hint="`--engine embedded` needs no runtime"
    )


def _works(tool: str, choice: Sequence[str], *, reference: str) -> tuple[bool, str]:
    name = f"cogsmith-probe-{os.urandom(4).hex()}"
    front = [tool, *choice, *_QUIET]
    usual = ("--network", "host", "--pull", "never", *_limits(), "--entrypoint", "[]")
    try:
        code, _, said = process.attempt([*front, "create", "--name", name, *usual, reference, _PROGRAM])
        if code == 0:
            code, _, said = process.attempt([*front, "init", name])
        text = said.decode(errors="replace")
        # An image without that program is as good: the runtime came as far as looking for it.
        return code == 0 or _NO_PROGRAM in text, text
    finally:
        process.attempt([*front, "rm", "--force", "--time", "0", "--ignore", name])


def _limits() -> list[str]:
    """Limits that this process may give: podman's defaults can be more, and it lowers its own."""
    words = []
    for name, number, most in (
        ("nofile", resource.RLIMIT_NOFILE, 1 << 20),
        ("nproc", resource.RLIMIT_NPROC, PROCESSES),
    ):
        soft, hard = (
            most if limit == resource.RLIM_INFINITY else min(limit, most) for limit in resource.getrlimit(number)
        )
        words += ["--ulimit", f"{name}={soft}:{hard}"]
    return words


def _program() -> str:
    hint = f"install it: {containers_storage.INSTALL['podman']}; or take `--engine embedded`"
    return process.find("podman", purpose="run containers with `--engine podman`", hint=hint)


def _path() -> str:
    return os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])


def _has_init() -> bool:
    return shutil.which("catatonit", path=os.pathsep.join([_path(), *INIT_FOLDERS])) is not None


def _is_terminal(options: Options) -> bool:
    return options.tty and all(
        stream is None and os.isatty(n) for n, stream in ((0, options.stdin), (1, options.stdout))
    )


def _end_with_us(tool: str, name: str, *, stack: contextlib.ExitStack) -> None:
    """Have the container stopped, kindly first, and removed should this process be killed: conmon would keep it.

    A shell waits for a word from this process, and for the pipe's end, which is that of this process.
    """
    reader, writer = os.pipe()
    remove = [tool, *_QUIET, "rm", "--force", "--time", str(int(GRACE)), "--ignore", name]
    watch = ["/bin/sh", "-c", 'read -r word || exec "$@"', "sh", *remove]
    try:
        watcher = process.start(
            watch, stdin=reader, stdout=sandbox.DEVNULL, stderr=sandbox.DEVNULL, session=True
        )  # the terminal's signals are not for it
    finally:
        os.close(reader)

    def dismiss() -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(writer, b"ended\n")
        os.close(writer)
        watcher.wait()

    stack.callback(dismiss)
