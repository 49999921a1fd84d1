"""Debian tests: the host's own mirrors, one store for the whole run, small archives made on the spot."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.layers.debian import debian_root
from builder.layers.root import Root
from builder.lock import DebianBase
from builder.plan import DebianLayer, Interpreter, Remote, to_plain
from builder.report import Quiet
from builder.resolve.debian import host_mirrors, resolve_debian
from builder.store import Store

EPOCH = 1735689600
Base = tuple[DebianBase, Interpreter, tuple[Remote, ...]]
Work = tuple[DebianLayer, dict[str, Path]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        yield store


@pytest.fixture(scope="session")
def mirrors() -> tuple[str, ...]:
    found = host_mirrors(Path("/etc/apt"))
    if not found:
        pytest.skip("/etc/apt names no Debian mirror")
    return found


@pytest.fixture(scope="session")
def shared_store(shared: Path) -> Iterator[Store]:
    """The store that the whole run shares: each package is downloaded once."""
    with Store.open(shared / "cache" / "cogsmith") as store:
        yield store


@pytest.fixture(scope="session")
def base(mirrors: tuple[str, ...], shared_store: Store) -> Callable[[str, str], Base]:
    """Resolve a suite for an architecture, once."""

    @functools.cache
    def resolve(suite: str, architecture: str) -> Base:
        return resolve_debian(
            suite=suite, architecture=architecture, mirrors=mirrors, store=shared_store, report=Quiet()
        )

    return resolve


@pytest.fixture(scope="session")
def work(base: Callable[[str, str], Base], shared_store: Store) -> Callable[[str, str], Work]:
    """The layer of a suite for an architecture, and its inputs, as the packer gets them."""

    def get(suite: str, architecture: str) -> Work:
        found, _, _ = base(suite, architecture)
        layer = DebianLayer(suite=suite, architecture=architecture, debs=found.debs, epoch=EPOCH)
        return layer, {deb.sha256: shared_store.file_path(deb.sha256) for deb in found.debs}

    return get


@pytest.fixture(scope="session")
def made(work: Callable[[str, str], Work]) -> Callable[[str, str], Root]:
    """The tree of a suite for an architecture, made once: to look at, not to change."""

    @functools.cache
    def make(suite: str, architecture: str) -> Root:
        layer, inputs = work(suite, architecture)
        return debian_root(to_plain(layer), inputs, 2)

    return make


@pytest.fixture
def copied(made: Callable[[str, str], Root]) -> Callable[[str, str], Root]:
    """The same, to change: nodes of its own, hard links still one node."""

    def copy(suite: str, architecture: str) -> Root:
        whole = made(suite, architecture)
        nodes = {id(node): dataclasses.replace(node) for node in whole._nodes.values()}
        root = Root(epoch=whole.epoch)
        root._nodes = {path: nodes[id(node)] for path, node in whole._nodes.items()}
        root._children = {path: set(names) for path, names in whole._children.items()}
        return root

    return copy
