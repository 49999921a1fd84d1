"""A name that stands for images of several platforms: in the store, pushed as an index, and chosen from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from builder.backends import assemble
from builder.errors import StoreError
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.pull import pull_image
from builder.report import Quiet
from builder.store import Store, StoredImage
from tests.conftest import Cogsmith
from tests.small_images import add_image, two_layers
from tests.small_registry import Server

BOTH = "linux/amd64,linux/arm64"


@pytest.fixture
def both(source: Store) -> list[StoredImage]:
    """Two images under the name `many`."""
    layers = two_layers(source)
    images = [add_image(source, "many", layers), add_image(source, "many", layers[:1], platform="linux/arm64")]
    assemble.index(images, store=source, name="many")
    return images


def test_each_platform_has_its_image(source: Store, both: list[StoredImage]) -> None:
    for platform, image in zip(("linux/amd64", "linux/arm64"), both, strict=True):
        found = source.image("many", platform=platform)
        assert found is not None
        assert (found.digest, found.platform, found.name) == (image.digest, platform, "many:latest")
    first = source.image("many")
    assert first is not None
    assert first.digest == both[0].digest
    assert [image.digest for image in source.images("many")] == [image.digest for image in both]
    assert [image.platform for image in source.images()] == ["linux/amd64", "linux/arm64"]
    with pytest.raises(StoreError, match="`many:latest` has no image for linux/s390x") as caught:
        source.image("many", platform="linux/s390x")
    assert "linux/amd64, linux/arm64" in str(caught.value.details)


def test_an_image_alone_is_for_any_machine(source: Store, both: list[StoredImage]) -> None:
    source.set_image("arm", both[1].descriptor)
    found = source.image("arm", platform="linux/amd64")
    assert found is not None
    assert found.platform == "linux/arm64"
    assert source.images("nothing") == []


def test_what_an_index_needs_is_kept_until_its_name_goes(source: Store, both: list[StoredImage]) -> None:
    source.prune(max_bytes=0)
    assert all(source.has_blob(layer.digest) for image in both for layer in image.layers)
    assert source.remove_image("many")
    assert source.image("many") is None


def test_the_index_is_pushed_with_its_images(
    cogsmith: Cogsmith, public: Server, source: Store, both: list[StoredImage], store: Store, tmp_path: Path
) -> None:
    cache = tmp_path / "home-of-the-store"
    cache.mkdir()
    (cache / "cogsmith").symlink_to(source.root)
    env = {"XDG_CACHE_HOME": str(cache)}
    done = cogsmith("push", "--image", "many", f"{public.host}/me/many:v1", cwd=tmp_path, env=env)
    index = assemble.index(both, store=source, name="many")
    assert done.out.strip() == index.digest
    for image in both:
        pulled = pull_image(
            parse(f"{public.host}/me/many:v1"),
            name="x",
            platform=image.platform,
            store=store,
            access=Access(env=dict(os.environ)),
            report=Quiet(),
        )
        assert pulled.descriptor == image.descriptor
    again = cogsmith("push", "--json", "--image", "many", f"{public.host}/me/many:v1", cwd=tmp_path, env=env)
    events = [json.loads(line) for line in again.out.splitlines()]
    assert events[-1] == {"event": "index", "name": f"{public.host}/me/many:v1", "digest": index.digest}
    assert not [event for event in events if event.get("how") == "sent"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("plan", "--platform", BOTH), "only `build` and `push` take several"),
        (("build", "--locked", "--platform", BOTH), "a lock file is for one platform"),
        (("build", "--platform", "linux/amd64,linux/s390x"), "`linux/s390x` is none of linux/amd64, linux/arm64"),
    ],
)
def test_what_several_platforms_are_not_for(
    cogsmith: Cogsmith, tmp_path: Path, argv: tuple[str, ...], said: str
) -> None:
    (tmp_path / "cog.yaml").write_text('build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n')
    done = cogsmith(*argv, cwd=tmp_path, ok=False)
    assert done.code == 2
    assert said in " ".join(done.err.split())
