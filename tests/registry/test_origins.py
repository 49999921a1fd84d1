"""Layers of a base that are not here, streamed from where they may be: a registry that is gone is passed over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from small_images import add_layer, digest_of, tar_of
from spec_registry import SpecRegistry

from builder import oci
from builder.errors import RegistryError
from builder.oci import PackedLayer
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.push import BASE_NAME, Manner, push_image
from builder.registry.upload import Limits
from builder.report import Quiet
from builder.store import Store, StoredImage

Image = Callable[[str], StoredImage]
DATA = bytes(range(256)) * 40


class Notes(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def base(new: Callable[[], SpecRegistry]) -> SpecRegistry:
    """The registry that has the layer of the base."""
    registry = new()
    registry.blobs[digest_of(DATA)] = DATA
    return registry


@pytest.fixture
def image_on(source: Store) -> Image:
    def make(name: str) -> StoredImage:
        """An image on a base of that name, whose layer is not in the store."""
        digest = digest_of(DATA)
        below = PackedLayer(digest=digest, diff_id=digest, size=len(DATA), media_type=oci.LAYER_MEDIA_TYPES["plain"])
        layers = [below, add_layer(source, tar_of({"opt": None, "opt/made": b"here\n"}))]
        inner = oci.ImageConfig(env=(), entrypoint=(), cmd=(), working_dir="/", exposed_ports=(), labels=())
        config = oci.image_config(inner, platform="linux/amd64", epoch=0, layers=layers, comments=["base", "ours"])
        manifest = oci.image_manifest(config.descriptor, layers=layers, annotations=[(BASE_NAME, name)])
        source.put(config.data)
        source.put(manifest.data)
        source.set_image("x", manifest.descriptor)
        image = source.image("x")
        assert image is not None
        return image

    return make


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf")}


def push(
    image: StoredImage, to: SpecRegistry, store: Store, env: dict[str, str], report: Quiet, manner: Manner | None = None
) -> dict[str, str]:
    access = Access(env=env, pauses=())
    pushed = push_image(
        image, to=parse(f"{to.host}/x:v1"), store=store, access=access, report=report, manner=manner or Manner()
    )
    return {moved.digest: moved.how for moved in pushed.blobs}


def test_the_registry_where_it_was_seen_last_is_gone(
    base: SpecRegistry, new: Callable[[], SpecRegistry], image_on: Image, source: Store, env: dict[str, str]
) -> None:
    image = image_on(f"{base.host}/python:3")
    staging, production = new(), new()
    assert push(image, staging, source, env, Quiet())[digest_of(DATA)] == "copied"
    staging.close()
    assert push(image, production, source, env, Quiet())[digest_of(DATA)] == "copied"
    assert production.blobs[digest_of(DATA)] == DATA


def test_nobody_has_it(
    base: SpecRegistry, new: Callable[[], SpecRegistry], image_on: Image, source: Store, env: dict[str, str]
) -> None:
    image = image_on(f"{base.host}/python:3")
    staging, production = new(), new()
    push(image, staging, source, env, Quiet())
    staging.close()
    base.blobs.clear()
    with pytest.raises(RegistryError, match=f"could not get the blob .* from `{base.host}`: it has none") as caught:
        push(image, production, source, env, Quiet())
    assert staging.host in str(caught.value.details)  # where it was looked for besides


def test_a_mirror_that_is_dead(
    base: SpecRegistry, new: Callable[[], SpecRegistry], image_on: Image, source: Store, env: dict[str, str]
) -> None:
    Path(env["CONTAINERS_REGISTRIES_CONF"]).write_text(
        f'[[registry]]\nlocation = "{base.host}"\n[[registry.mirror]]\nlocation = "127.0.0.1:1/nobody"\n'
    )
    report, there = Notes(), new()
    manner = Manner(limits=Limits(chunk=1000, threshold=2000))
    assert push(image_on(f"{base.host}/python:3"), there, source, env, report, manner)[digest_of(DATA)] == "copied"
    assert there.blobs[digest_of(DATA)] == DATA
    passed = [line for line in report.lines if line.startswith("not from the mirror 127.0.0.1:1/nobody/python: ")]
    assert len(passed) == 1  # not once for every chunk


@pytest.mark.parametrize("name", ["oci.example.test/python:3", "ocibase/python"])
def test_a_base_whose_name_begins_as_that_of_a_layout(
    base: SpecRegistry, new: Callable[[], SpecRegistry], image_on: Image, source: Store, env: dict[str, str], name: str
) -> None:
    Path(env["CONTAINERS_REGISTRIES_CONF"]).write_text(
        'unqualified-search-registries = ["oci.example.test"]\n'
        f'[[registry]]\nprefix = "oci.example.test"\nlocation = "{base.host}"\n'
    )
    assert push(image_on(name), new(), source, env, Quiet())[digest_of(DATA)] == "copied"
