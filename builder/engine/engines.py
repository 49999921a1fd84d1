"""The engines: modules that run an image, satisfying `Engine`, listed in `ENGINES`.  Names, so that one is imported."""

from __future__ import annotations

import importlib
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, cast

from builder.errors import SandboxError

if TYPE_CHECKING:
    from builder.engine.container import Options
    from builder.engine.unpack import Fetch
    from builder.report import Report
    from builder.store import Store, StoredImage

ENGINES: dict[str, str] = {
    "embedded": "builder.engine.container",
    "podman": "builder.engine.podman",
}
DEFAULT = "embedded"


class Running(Protocol):
    """A container at work; close it, and nothing of it is left."""

    def poll(self) -> int | None:
        """The exit code if it has ended."""

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the command and return its exit code (128 + n for signal n); `TimeoutError` after `timeout` s."""

    def signal(self, number: int) -> None:
        """Send a signal to the command."""

    def stop(self, *, grace: float = ...) -> int:
        """SIGTERM, after `grace` seconds SIGKILL; the exit code."""

    def close(self) -> None:
        """Kill it if it still runs, and remove what is left of it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None: ...


class Engine(Protocol):
    """What a module must offer to be an engine."""

    def start(
        self,
        image: StoredImage,
        *,
        store: Store,
        options: Options | None = None,
        report: Report | None = None,
        fetch: Fetch | None = None,
    ) -> Running:
        """Start a container from an image of the store; `fetch` brings layers of a foreign base into it."""

    def run(
        self,
        image: StoredImage,
        *,
        store: Store,
        options: Options | None = None,
        report: Report | None = None,
        fetch: Fetch | None = None,
    ) -> int:
        """Run one to its end and return its exit code."""


def check_name(name: str) -> str:
    """The name itself; `SandboxError` if there is no such engine."""
    if name not in ENGINES:
        raise SandboxError(f"there is no engine `{name}`", hint=f"choose one of: {', '.join(sorted(ENGINES))}")
    return name


def engine(name: str) -> Engine:
    """The engine called `name`."""
    return cast("Engine", importlib.import_module(ENGINES[check_name(name)]))
