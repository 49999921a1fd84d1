"""A stored image as a running container: what its configuration says, changed by what the caller says."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from builder import sandbox
from builder.engine import platform
from builder.engine.unpack import Fetch, unpack_all
from builder.errors import SandboxError
from builder.frozen import frozen
from builder.report import Quiet, Report
from builder.sandbox import Mount, Network, Overlay, Spec
from builder.sandbox.start import Stream
from builder.store import Store, StoredImage

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INITS = frozenset({"tini", "tini-static", "dumb-init", "docker-init", "catatonit", "s6-svscan", "init", "systemd"})
"""Programs that are PID 1 themselves, and complain when they are not."""
GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""


@frozen
class Options:
    """What the caller wants otherwise than the image says.

    `command` replaces the image's `Cmd` (its `Entrypoint` stays, as with docker); `env` wins over the image's; `mounts`
    come on top; `workdir` replaces `WorkingDir`; `tty` leaves the command in the terminal's session.  Streams are as
    for `subprocess.Popen`.
    """

    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    workdir: str | None = None
    network: Network = "host"
    tty: bool = False
    stdin: Stream = None
    stdout: Stream = None
    stderr: Stream = None


class Container:
    """A running container and its hold on the store; close it."""

    def __init__(self, child: sandbox.Child, *, hold: contextlib.ExitStack) -> None:
        self._child = child
        self._hold = hold

    @property
    def pid(self) -> int:
        """The supervising process on this host."""
        return self._child.pid

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        return self._child.poll()

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the command and return its exit code (128 + n for signal n); `TimeoutError` after `timeout` s."""
        return self._child.wait(timeout=timeout)

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        self._child.signal(number)

    def stop(self, *, grace: float = GRACE) -> int:
        """SIGTERM, after `grace` seconds SIGKILL; the exit code."""
        self.signal(15)
        try:
            return self.wait(timeout=grace)
        except TimeoutError:
            self.signal(9)
            return self.wait()

    def close(self) -> None:
        """Kill it if it still runs; afterwards nothing of it is left."""
        self._child.close()
        self._hold.close()

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
    """Start a container from an image; it runs when this returns.

    `fetch` brings layers of a foreign base into the store when they are not there.  Raises `SandboxError` when this
    machine cannot run containers, or not those of the image's platform, `StoreError` for a layer that cannot be had.
    """
    report = report or Quiet()
    options = options or Options()
    platform.check(image.config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.using(report=report))
        layers = unpack_all(image.layers, store=store, report=report, fetch=fetch)
        spec = specify(image.config, layers=layers, scratch=store.root / "run", options=options)
        child = sandbox.start(spec, stdin=options.stdin, stdout=options.stdout, stderr=options.stderr)
        return Container(child, hold=stack.pop_all())


def run(
    image: StoredImage,
    *,
    store: Store,
    options: Options | None = None,
    report: Report | None = None,
    fetch: Fetch | None = None,
) -> int:
    """Run a container to its end and return its exit code.

    With `Options.tty`, the terminal's interrupt is for the command: this process waits for what it makes of it.
    """
    options = options or Options()
    platform.check(image.config)
    with store.using(report=report):
        unpack_all(image.layers, store=store, report=report or Quiet(), fetch=fetch)  # this may be interrupted
        with (
            sandbox.terminal_given(options.tty),
            start(image, store=store, options=options) as container,
        ):
            try:
                return container.wait()
            except KeyboardInterrupt:
                container.stop()
                raise


def specify(config: Mapping[str, Any], *, layers: Sequence[Path], scratch: Path, options: Options) -> Spec:
    """The sandbox for an image configuration (OCI image-spec, `config`) over its unpacked `layers`, the base first."""
    inner: Mapping[str, Any] = config.get("config") or {}
    entrypoint = tuple(inner.get("Entrypoint") or ())
    argv = entrypoint + (options.command if options.command is not None else tuple(inner.get("Cmd") or ()))
    if not argv:
        raise SandboxError("the image has no command to run", hint="name one: `cogsmith exec COMMAND`")
    env = {"PATH": PATH, "HOME": "/root", "HOSTNAME": "cogsmith"}
    env |= dict(word.partition("=")[::2] for word in inner.get("Env") or ())
    env |= options.env
    return Spec(
        root=Overlay(lower=tuple(layers)),
        argv=argv,
        env=tuple(env.items()),
        cwd=options.workdir or inner.get("WorkingDir") or "/",
        user=inner.get("User") or "",
        mounts=options.mounts,
        network=options.network,
        hostname=env["HOSTNAME"],
        init=argv[0].rpartition("/")[2] not in INITS,
        tty=options.tty,
        scratch=scratch,
    )
