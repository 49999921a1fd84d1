"""Packages without a wheel, built in the image's own environment: what resolves is joined with what runs."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.caching import cache_of
from builder.cli.console import Console
from builder.cli.settings import Settings
from builder.config import Config
from builder.errors import LockError
from builder.lock import Built, ImageBase, Lock
from builder.plan import (
    BaseLayer,
    BytecodeLayer,
    PackagesLayer,
    Plan,
    RunLayer,
    RuntimeLayer,
    WheelsLayer,
    canonical_json,
    chain_link,
    layer_key,
)
from builder.store import Store

if TYPE_CHECKING:
    from builder.resolve.environment import OpenBuilder
    from builder.resolve.wheelhouse import Job


class Building:
    """A `resolve.wheelhouse.Builder`: the environment of `lock`, in our sandbox."""

    def __init__(
        self,
        config: Config,
        lock: Lock,
        *,
        settings: Settings,
        store: Store,
        console: Console,
        texts: Sequence[str] = (),
    ) -> None:
        """`texts` (requirements) may hold URLs with the credentials of indexes."""
        from builder.compile import build_environment

        self._config = config
        self._lock = lock
        self._settings = settings
        self._store = store
        self._console = console
        self.env = settings.env
        self.texts = texts
        plan = build_environment(config, lock=lock, requires=(), remotes=(), epoch=settings.epoch)
        links = [chain_link(layer) for layer in plan.layers]
        self.identity = hashlib.sha256(canonical_json([links, lock.interpreter.version, settings.epoch])).hexdigest()

    def build(self, job: Job, *, into: Path) -> Sequence[str]:
        """See `Builder.build`."""
        from builder.backends import Execution, asked, wheel_build
        from builder.cli.base import BASE_DIGEST, BASE_NAME, layers_of
        from builder.cli.project import make_layers
        from builder.compile import build_environment

        remotes = (*self._lock.remotes, *job.remotes)
        plan = build_environment(
            self._config, lock=self._lock, requires=job.requires, remotes=remotes, epoch=self._settings.epoch
        )
        asked.check(plan, store=self._store)
        base, execution, env = self._lock.base, Execution(), {}
        if isinstance(base, ImageBase):
            annotations = {BASE_NAME: base.reference, BASE_DIGEST: base.digest}
            fetch = layers_of(
                annotations, name=base.reference, store=self._store, settings=self._settings, report=self._console
            )
            execution, env = Execution(base=fetch), dict(base.env)
        layers = make_layers(
            plan,
            local={},
            backend_name="embedded",
            settings=self._settings,
            store=self._store,
            console=self._console,
            execution=execution,
            texts=self.texts,
        )
        self._console.note(f"building a wheel of {job.name}")
        return wheel_build.build(
            job.settings,
            name=job.name,
            source=job.source,
            into=into,
            interpreter=self._lock.interpreter,
            env=env,
            below=layers,
            plan=plan,
            store=self._store,
            report=self._console,
            execution=execution,
        )

    def known(self, key: str) -> tuple[str, str] | None:
        """See `Builder.known`: what is in the repository of `--cache-repo`."""
        cache = cache_of(self._settings, store=self._store, report=self._console)
        found = cache.get_file(key) if cache is not None else None
        return (found.name, found.sha256) if found is not None else None

    def keep(self, key: str, wheel: Path) -> None:
        """See `Builder.keep`."""
        cache = cache_of(self._settings, store=self._store, report=self._console)
        if cache is not None:
            cache.keep_file(key, wheel, name=wheel.name)


def opener(*, settings: Settings, store: Store, console: Console, texts: Sequence[str]) -> OpenBuilder:
    """What opens the environment of a lock."""

    def open_builder(config: Config, lock: Lock) -> Building:
        return Building(config, lock, settings=settings, store=store, console=console, texts=texts)

    return open_builder


def restore(
    lock: Lock,
    *,
    config: Config,
    plan: Plan,
    project: Path,
    settings: Settings,
    store: Store,
    console: Console,
    elsewhere: Container[str] = frozenset(),
    fresh: bool = False,
    every: bool = False,
    texts: Sequence[str] = (),
) -> None:
    """Have here what was built of the wheels of `lock`, where a layer of `plan` must be made of it; or `every` one.

    From the store, from the cache repository, or built again from what the lock says; of layers that are `elsewhere`
    (digests) only where a command has to run on them, `fresh` or for the first time.  `LockError` if what comes of
    that is another wheel.
    """
    missing = [item for item in lock.built if not store.has_file(item.sha256)]
    if not missing:
        return
    wanted = _wanted(plan, store=store, elsewhere=elsewhere, fresh=fresh)
    wheels = {wheel.sha256: wheel for wheel in lock.wheels}
    for item in missing:
        if every or item.sha256 in wanted:
            _restore(item, name=wheels[item.sha256].name, lock=lock, project=project,
                     builder=Building(
                         config, lock, settings=settings, store=store, console=console, texts=texts
                     ),
                     store=store)  # fmt: skip


def _wanted(plan: Plan, *, store: Store, elsewhere: Container[str], fresh: bool) -> set[str]:
    """sha256 of the wheels that layers must be made of here; as `backends.making` sees it."""
    locked = {one.key: one.digest for one in plan.locked}
    found: set[str] = set()
    below = False
    for layer in reversed(plan.layers):
        if isinstance(layer, BaseLayer):
            continue
        key = layer_key(layer, compression=plan.compression, codec=plan.codec)
        digest, executed = locked.get(key, ""), isinstance(layer, RunLayer | PackagesLayer)
        there = digest and (store.has_blob(digest) or (digest in elsewhere and not below))
        if (there or store.layer(key) is not None) and not (fresh and executed):
            continue
        below = below or executed
        of = layer.of if isinstance(layer, BytecodeLayer) else layer
        if isinstance(of, WheelsLayer | RuntimeLayer):
            found |= {wheel.sha256 for wheel in of.wheels}
    return found


def _restore(item: Built, *, name: str, lock: Lock, project: Path, builder: Building, store: Store) -> None:
    from builder.report import Quiet
    from builder.resolve import unbuilt, wheelhouse
    from builder.resolve.indexes import uv_environment
    from builder.resolve.sessions import session_factory

    kept = builder.known(item.key)
    if kept is not None and kept[1] == item.sha256:
        return
    with store.scratch() as scratch:
        source = unbuilt.source_of(
            item,
            name=name,
            project=project,
            store=store,
            scratch=scratch,
            env=builder.env,
            new_session=session_factory(uv_environment(builder.env, report=Quiet()), texts=builder.texts),
        )
        table = unbuilt.read_build_table(source)
        settings = {**wheelhouse.settings(source, table), "complete": True}
        job = wheelhouse.Job(
            name=name, source=source.path, settings=settings, requires=item.requires, remotes=lock.remotes
        )
        into = scratch / "made"
        into.mkdir()
        builder.build(job, into=into)
        (wheel,) = into.glob("*.whl")
        sha256 = store.add_file(wheel)
    if sha256 != item.sha256:
        raise LockError(
            f"`{name}` was built again, and came out as another wheel than the lock names",
            details=f"expected sha256 {item.sha256}\nfound    sha256 {sha256}",
            hint="run `cogsmith lock` here"
            if item.same
            else "its builds are never alike: share what was locked by `--cache-repo`, or run `cogsmith lock` here",
        )
