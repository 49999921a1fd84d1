"""registries.conf: mirrors, insecure and blocked registries, aliases, short names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_images import add_image, two_layers
from small_registry import Server

from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.places import full, place, places
from builder.registry.pull import pull_image
from builder.report import Quiet
from builder.store import Store


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf")}


def write(env: dict[str, str], text: str) -> None:
    Path(env["CONTAINERS_REGISTRIES_CONF"]).write_text(text)


def test_nothing_written(env: dict[str, str]) -> None:
    assert str(full(parse("python:3.12"), env=env)) == "docker.io/library/python:3.12"
    (only,) = places(parse("r8.im/a/b"), env=env)
    assert (str(only.reference), only.insecure, only.mirror) == ("r8.im/a/b", False, False)


def test_short_names(env: dict[str, str]) -> None:
    write(env, 'unqualified-search-registries = ["quay.io"]\n[aliases]\n"cuda" = "docker.io/nvidia/cuda"\n')
    assert str(full(parse("cuda:12.1@sha256:" + "a" * 64), env=env)) == "docker.io/nvidia/cuda:12.1@sha256:" + "a" * 64
    assert str(full(parse("team/tool:v1"), env=env)) == "quay.io/team/tool:v1"
    assert str(full(parse("r8.im/team/tool"), env=env)) == "r8.im/team/tool"
    write(env, 'unqualified-search-registries = ["quay.io", "docker.io"]\n')
    assert str(full(parse("python"), env=env)) == "docker.io/library/python"


def test_locations_and_the_longest_prefix(env: dict[str, str]) -> None:
    write(
        env,
        """
[[registry]]
prefix = "example.com"
location = "internal:5000/all"
insecure = true
[[registry]]
prefix = "example.com/team"
location = "other.internal/team"
[[registry]]
prefix = "*.wild.example"
location = "wild.internal"
""",
    )
    moved = place(parse("example.com/a/b:v1"), env=env)
    assert (str(moved.reference), moved.insecure) == ("internal:5000/all/a/b:v1", True)
    moved = place(parse("example.com/team/b"), env=env)
    assert (str(moved.reference), moved.insecure) == ("other.internal/team/b", False)
    assert str(place(parse("example.com/teams/b"), env=env).reference) == "internal:5000/all/teams/b"
    assert str(place(parse("a.wild.example/x"), env=env).reference) == "wild.internal/x"
    assert str(place(parse("wild.example/x"), env=env).reference) == "wild.example/x"


def test_mirrors_by_tag_and_digest(env: dict[str, str]) -> None:
    write(
        env,
        """
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "one.internal/hub"
[[registry.mirror]]
location = "two.internal"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "three.internal"
pull-from-mirror = "tag-only"
""",
    )
    by_tag = places(parse("python:3.12"), env=env)
    assert [str(one.reference) for one in by_tag] == [
        "one.internal/hub/library/python:3.12",
        "three.internal/library/python:3.12",
        "docker.io/library/python:3.12",
    ]
    by_digest = places(parse("python@sha256:" + "b" * 64), env=env)
    assert [(one.reference.registry, one.insecure, one.mirror) for one in by_digest] == [
        ("one.internal", False, True),
        ("two.internal", True, True),
        ("docker.io", False, False),
    ]
    assert place(parse("python"), env=env).reference.registry == "docker.io"


def test_blocked(env: dict[str, str]) -> None:
    write(env, '[[registry]]\nprefix = "bad.example"\nblocked = true\n')
    for find in (place, places):
        with pytest.raises(RegistryError, match="is blocked on this machine") as caught:
            find(parse("bad.example/x"), env=env)
        assert "registries.conf" in str(caught.value)


def test_drop_ins_and_the_users_own_file(home: Path) -> None:
    folder = home / ".config" / "containers"
    (folder / "registries.conf.d").mkdir(parents=True)
    (folder / "registries.conf").write_text('[aliases]\n"mine" = "a.example/mine"\n"x" = "a.example/x"\n')
    (folder / "registries.conf.d" / "10.conf").write_text('[aliases]\n"mine" = "b.example/mine"\n')
    env = {"HOME": str(home)}
    assert full(parse("mine"), env=env).registry == "b.example"
    assert full(parse("x"), env=env).registry == "a.example"


@pytest.mark.parametrize(
    "text",
    [
        "this is no TOML",
        "registry = 7",
        "unqualified-search-registries = 'docker.io'",
        "unqualified-search-registries = [7]",
        "aliases = 'x'",
        "[aliases]\npython = 3",
        "[[registry]]\nlocation = 'docker.io'\nmirror = 'x'",
    ],
)
def test_a_file_that_cannot_be_read(env: dict[str, str], text: str) -> None:
    write(env, text)
    with pytest.raises(RegistryError, match=r"could not read .*registries\.conf") as caught:
        place(parse("python"), env=env)
    assert caught.value.hint


def test_pull_from_a_mirror_and_past_one(public: Server, source: Store, store: Store, env: dict[str, str]) -> None:
    image = add_image(source, "hello", two_layers(source))
    public.push(source, "hello:latest", "mirrored/team/hello:v1", "--preserve-digests")
    write(
        env,
        f"""
[[registry]]
location = "far.invalid"
[[registry.mirror]]
location = "127.0.0.1:1/nobody"
[[registry.mirror]]
location = "{public.host}/mirrored"
""",
    )
    access = Access(env=env, pauses=(0.0,))
    reference = parse("far.invalid/team/hello:v1")
    pulled = pull_image(
        reference, name="far.invalid/team/hello:v1", platform="linux/amd64", store=store, access=access, report=Quiet()
    )
    assert pulled.descriptor == image.descriptor
    assert str(pulled.reference) == "far.invalid/team/hello:v1"
    assert all(store.has_blob(layer.digest) for layer in image.layers)
