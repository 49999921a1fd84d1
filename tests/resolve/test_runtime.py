"""What every image gets: the runtime's files, and the pinned wheels of the server."""

from __future__ import annotations

import hashlib
import os

import pytest
from small_index import Index, Told

from builder.errors import ResolveError
from builder.resolve import runtime
from builder.store import Store

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("linux/amd64", "linux/arm64")


def test_files_are_the_runtimes_and_nothing_else(store: Store) -> None:
    entries, paths = runtime.runtime_files(hash_file=store.hash_file)
    found = {entry.path: entry for entry in entries}
    assert "cog/__init__.py" in found
    assert not [path for path in found if "__pycache__" in path or "/." in path or path.startswith(".")]
    for entry in entries:
        if entry.type == "file":
            assert hashlib.sha256(paths[entry.sha256].read_bytes()).hexdigest() == entry.sha256
    assert {entry.sha256 for entry in entries if entry.type == "file"} == set(paths)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_pins_hold_a_server_for_every_python(python: str, platform: str) -> None:
    pinned = runtime.pins(python_version=python, platform=platform)
    assert {"fastapi", "uvicorn", "pydantic"} <= {wheel.name for wheel in pinned}
    assert [wheel.name for wheel in pinned] == sorted(wheel.name for wheel in pinned)
    assert all(len(wheel.sha256) == 64 and wheel.size > 0 for wheel in pinned)


def test_there_is_none_for_other_pythons() -> None:
    with pytest.raises(ResolveError, match=r"no server for Python 3\.7 on linux/amd64"):
        runtime.pins(python_version="3.7", platform="linux/amd64")


# Those of amd64 are installed, and run, in tests/runtime; of the newest Python there may be no interpreter.
@pytest.mark.network
@pytest.mark.parametrize(
    ("python", "platform"), [*((python, "linux/arm64") for python in PYTHONS), (PYTHONS[-1], "linux/amd64")]
)
def test_the_users_index_has_the_pinned_files(store: Store, told: Told, python: str, platform: str) -> None:
    wheels, remotes = runtime.resolve_runtime(
        python_version=python, platform=platform, store=store, env=dict(os.environ), report=told
    )
    assert wheels == runtime.pins(python_version=python, platform=platform)
    assert [remote.sha256 for remote in remotes] == [wheel.sha256 for wheel in wheels]


def test_an_index_with_other_files_is_refused(store: Store, index: Index, bare_env: dict[str, str], told: Told) -> None:
    for wheel in runtime.pins(python_version="3.11", platform="linux/amd64"):
        index.add(wheel.name, wheel.version)
    with pytest.raises(ResolveError, match="lacks files that the server in the image needs") as caught:
        runtime.resolve_runtime(
            python_version="3.11",
            platform="linux/amd64",
            store=store,
            env={**bare_env, "PIP_INDEX_URL": index.url},
            report=told,
        )
    assert "fastapi" in (caught.value.details or "")


def test_an_index_without_them_is_refused(store: Store, index: Index, bare_env: dict[str, str], told: Told) -> None:
    with pytest.raises(ResolveError, match="no package index that is set has"):
        runtime.resolve_runtime(
            python_version="3.11",
            platform="linux/amd64",
            store=store,
            env={**bare_env, "PIP_INDEX_URL": index.url},
            report=told,
        )
