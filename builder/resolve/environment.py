"""What is known of an image before its Python packages are: where those without a wheel are built."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeAlias

from builder.config import Config
from builder.lock import DebianBase, ImageBase, Lock
from builder.plan import Deb, Interpreter, PythonArchive, Remote
from builder.resolve.wheelhouse import Builder

if TYPE_CHECKING:
    from builder.resolve.project import World

OpenBuilder: TypeAlias = Callable[[Config, Lock], Builder]
"""Opens the environment of a lock that has a base, an interpreter and system packages, and no more."""


class Environment:
    """The base, the interpreter and the system packages of a project."""

    def __init__(
        self,
        config: Config,
        *,
        base: DebianBase | ImageBase,
        interpreter: Interpreter,
        python: PythonArchive | None,
        remotes: tuple[Remote, ...],
        platform: str,
        world: World,
        old: Lock | None,
        moving: Collection[str],
    ) -> None:
        self._config = config
        self._base = base
        self._interpreter = interpreter
        self._python = python
        self._remotes = remotes
        self._platform = platform
        self._world = world
        self._old = old
        self._moving = moving
        self.system_packages = functools.cache(self._system_packages)
        self.builder = functools.cache(self._open)

    def _system_packages(self) -> tuple[tuple[Deb, ...], tuple[Remote, ...]]:
        if not self._config.system_packages:
            return (), ()
        from builder.resolve.apt.project import system_packages

        return system_packages(
            self._config,
            base=self._base,
            remotes=self._remotes,
            platform=self._platform,
            world=self._world,
            old=self._old,
            moving=self._moving,
        )

    def _open(self) -> Builder:
        debs, more = self.system_packages()
        lock = Lock(
            config_hash="",
            platform=self._platform,
            interpreter=self._interpreter,
            base=self._base,
            wheels=(),
            runtime_version="",
            runtime_wheels=(),
            python=self._python,
            system_packages=debs,
            remotes=(*self._remotes, *more),
        )
        assert self._world.open_builder is not None
        return self._world.open_builder(self._config, lock)
