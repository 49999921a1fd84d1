"""A real registry behind a proxy that misbehaves, by seed: no push loses data, none reports a success that is none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import FAULTS, Faulty
from small_images import add_image, digest_of
from small_registry import Server

from builder import oci
from builder.errors import CogsmithError, RegistryError
from builder.oci import PackedLayer
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.pull import pull_image
from builder.registry.push import Manner, push_image
from builder.registry.upload import Limits
from builder.report import Quiet
from builder.store import Store, StoredImage

GROUPS = 4
RUNS = int(os.environ.get("COGSMITH_TEST_FAULTS", "200")) // GROUPS
"""Seeds of each group; more of them on request, for whoever changes what talks to registries."""
MANNER = Manner(parallel=3, limits=Limits(chunk=30_000, threshold=50_000))


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


@pytest.fixture
def proxied(public: Server) -> Iterator[Faulty]:
    proxy = Faulty(public.host, lambda method, path: None)
    yield proxy
    proxy.close()


def get(host: str, path: str) -> bytes:
    accept = f"{oci.MANIFEST}, {oci.INDEX}"
    with urllib.request.urlopen(urllib.request.Request(f"http://{host}/v2/{path}", headers={"Accept": accept})) as got:
        data: bytes = got.read()
        return data


def check_whole(host: str, repository: str, image: StoredImage) -> None:
    """All of the image is in the registry, byte for byte, asked without the proxy."""
    manifest = get(host, f"{repository}/manifests/v1")
    assert digest_of(manifest) == image.digest
    described = json.loads(manifest)
    for blob in (described["config"], *described["layers"]):
        data = get(host, f"{repository}/blobs/{blob['digest']}")
        assert (digest_of(data), len(data)) == (blob["digest"], blob["size"])


def make(store: Store, chance: random.Random) -> StoredImage:
    layers = []
    for _ in range(chance.randint(1, 4)):
        data = chance.randbytes(chance.choice([1, 700, 20_000, 49_999, 50_000, 90_000, 150_000]))
        digest = store.put(data)
        layers.append(
            PackedLayer(digest=digest, diff_id=digest, size=len(data), media_type=oci.LAYER_MEDIA_TYPES["plain"])
        )
    return add_image(store, "x", layers)


@pytest.mark.parametrize("group", range(GROUPS))
def test_seeded_faults(group: int, proxied: Faulty, source: Store, store: Store, env: dict[str, str]) -> None:
    clean = 0
    for seed in range(group * RUNS, group * RUNS + RUNS):
        chance, dice = random.Random(seed), random.Random(seed)
        often, kinds = chance.choice([0.05, 0.2, 0.5]), chance.sample(FAULTS, chance.randint(1, len(FAULTS)))

        def choose(
            method: str, path: str, often: float = often, kinds: list[str] = kinds, dice: random.Random = dice
        ) -> str | None:
            return dice.choice(kinds) if dice.random() < often else None

        proxied.choose, proxied.seed = choose, random.Random(seed)
        proxied.log.clear()
        try:
            clean += run(seed, proxy=proxied, source=source, target=store, env=env, chance=chance)
        except BaseException:
            print(f"seed {seed}, {often}, {kinds}", *proxied.log, sep="\n")
            raise
    assert clean, "every run failed: the faults are too many to show that pushes get through"


def run(
    seed: int,
    *,
    proxy: Faulty,
    source: Store,
    target: Store,
    env: dict[str, str],
    chance: random.Random,
) -> bool:
    """One push and one pull through the faults; whatever failed is done again without them."""
    image = make(source, chance)
    repository = f"run/{seed}"
    to = parse(f"{proxy.host}/{repository}:v1")
    access = Access(env=env, pauses=(0.0,) * 5)
    good = True
    try:
        pushed = push_image(image, to=to, store=source, access=access, report=Quiet(), manner=MANNER)
    except CogsmithError as problem:
        explained(problem)
        good = False
        proxy.choose = lambda method, path: None
        again = dataclasses.replace(access, stop=type(access.stop)())
        pushed = push_image(image, to=to, store=source, access=again, report=Quiet(), manner=MANNER)
    assert pushed.descriptor == image.descriptor
    check_whole(proxy.target, repository, image)
    try:
        pull_image(
            to,
            name="x",
            platform="linux/amd64",
            store=target,
            access=Access(env=env, pauses=(0.0,) * 5),
            report=Quiet(),
        )
    except CogsmithError as problem:
        explained(problem)
        assert target.image("x") is None
        good = False
        proxy.choose = lambda method, path: None
        pull_image(to, name="x", platform="linux/amd64", store=target, access=Access(env=env), report=Quiet())
    got = target.image("x")
    target.remove_image("x")
    assert got is not None
    assert got.digest == image.digest
    for layer in got.layers:
        assert hashlib.sha256(target.blob_path(layer.digest).read_bytes()).hexdigest() == layer.digest[7:]
    return good


def explained(problem: CogsmithError) -> None:
    """One clear error that says what to do, and holds no address with secrets."""
    assert isinstance(problem, RegistryError), repr(problem)
    assert problem.brief
    assert problem.hint, problem.brief
    assert "_state" not in str(problem)
    assert "Traceback" not in str(problem)
    assert "gave up" not in problem.brief, "the first failure is what must be told"


def one_layer(store: Store, size: int) -> StoredImage:
    digest = store.put(os.urandom(size))
    media_type = oci.LAYER_MEDIA_TYPES["plain"]
    return add_image(store, "x", [PackedLayer(digest=digest, diff_id=digest, size=size, media_type=media_type)])


@pytest.mark.parametrize("fault", ["429", "500", "full disk", "cut request", "cut answer", "expired"])
def test_a_fault_that_stays_is_one_error(
    fault: str, public: Server, proxied: Faulty, source: Store, env: dict[str, str]
) -> None:
    image = one_layer(source, 200_000)
    to = parse(f"{proxied.host}/x:v1")
    proxied.choose = lambda method, path: fault if method in ("PATCH", "PUT") and "/uploads/" in path else None
    access = Access(env=env, pauses=(0.0,) * 3)
    with pytest.raises(RegistryError) as caught:
        push_image(image, to=to, store=source, access=access, report=Quiet(), manner=MANNER)
    explained(caught.value)
    proxied.choose = lambda method, path: None
    push_image(image, to=to, store=source, access=Access(env=env), report=Quiet(), manner=MANNER)
    check_whole(public.host, "x", image)


def test_a_tag_that_moves_during_a_pull(
    public: Server, proxied: Faulty, source: Store, store: Store, env: dict[str, str]
) -> None:
    one, two = one_layer(source, 3000), one_layer(source, 4000)
    access = Access(env=env)
    push_image(one, to=parse(f"{public.host}/x:v1"), store=source, access=access, report=Quiet())
    moved = []

    def before(method: str, path: str) -> None:
        if "/blobs/" in path and not moved:
            moved.append(push_image(two, to=parse(f"{public.host}/x:v1"), store=source, access=access, report=Quiet()))

    proxied.before = before
    pulled = pull_image(
        parse(f"{proxied.host}/x:v1"), name="x", platform="linux/amd64", store=store, access=access, report=Quiet()
    )
    assert moved
    assert pulled.descriptor == one.descriptor
    assert store.has_blob(one.layers[0].digest)
    assert not store.has_blob(two.layers[0].digest)
