"""A repository as a cache: what was kept is found by others, and what is not as its entry says is refused aloud."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_images import add_layer, tar_of
from small_registry import Server
from spec_registry import SpecRegistry

from builder.oci import MANIFEST, PackedLayer
from builder.reference import parse
from builder.registry import cache
from builder.registry.cache import CacheRepository
from builder.registry.client import Access
from builder.report import Quiet
from builder.store import Store

KEY = hashlib.sha256(b"a command and all below it").hexdigest()
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


class Warnings(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


@dataclasses.dataclass(frozen=True)
class Machine:
    """One of those that share the cache."""

    store: Store
    cache: CacheRepository
    warnings: list[str]


@pytest.fixture
def machine(tmp_path: Path, home: Path) -> Iterator[Callable[[str, str], Machine]]:
    opened = []

    def begin(name: str, host: str) -> Machine:
        report = Warnings()
        store = Store.open(tmp_path / name)
        opened.append(store)
        access = Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,))
        reference = parse(f"{host}/team/cache")
        return Machine(store, CacheRepository(reference, access=access, store=store, report=report), report.lines)

    yield begin
    for store in opened:
        store.close()


def layer_of(store: Store, text: bytes = b"made by a command\n") -> PackedLayer:
    return add_layer(store, tar_of({"opt": None, "opt/made": text}))


def test_a_layer_is_kept_once_and_found_by_others(spec: SpecRegistry, machine: Callable[[str, str], Machine]) -> None:
    one, two = machine("one", spec.host), machine("two", spec.host)
    layer = layer_of(one.store)
    assert one.cache.find(KEY, media_type=GZIP) is None
    one.cache.keep(KEY, layer, title="RUN make")
    spec.asked.clear()
    one.cache.keep(KEY, layer, title="RUN make")
    assert spec.asked == []  # it is remembered
    assert two.cache.find(KEY, media_type=GZIP) == layer
    assert not two.store.has_blob(layer.digest)
    assert two.cache.fetch(layer, key=KEY)
    assert two.store.read_blob(layer.digest) == one.store.read_blob(layer.digest)
    # Another machine may have made another layer of the same key: the first stays, for tags may be immutable.
    three = machine("three", spec.host)
    other = layer_of(three.store, b"made again\n")
    three.cache.keep(KEY, other, title="RUN make")
    assert machine("four", spec.host).cache.find(KEY, media_type=GZIP) == layer
    assert not one.warnings + two.warnings + three.warnings


def test_what_a_registry_has_removed_is_kept_again(
    spec: SpecRegistry, machine: Callable[[str, str], Machine], home: Path
) -> None:
    one = machine("one", spec.host)
    layer = layer_of(one.store)

    def build() -> list[str]:
        """What the registry is asked by another build of the machine."""
        access = Access(env={"HOME": str(home)}, pauses=(0.0,))
        spec.asked.clear()
        again = CacheRepository(one.cache.reference, access=access, store=one.store, report=Quiet())
        again.keep(KEY, layer, title="RUN make")
        return [line.partition(" ")[0] for line in spec.asked if not line.endswith("/v2/")]

    assert "PUT" in build()
    assert build() == ["HEAD"]
    spec.manifests.clear()  # as a rule that removes old tags does
    spec.blobs.clear()
    assert "PUT" in build()
    assert machine("two", spec.host).cache.find(KEY, media_type=GZIP) == layer


def test_a_layer_of_another_form_is_not_taken(spec: SpecRegistry, machine: Callable[[str, str], Machine]) -> None:
    one = machine("one", spec.host)
    one.cache.keep(KEY, layer_of(one.store), title="x")
    assert one.cache.find(KEY, media_type=GZIP.replace("gzip", "zstd")) is None
    assert "refused" in one.warnings[0]


def tamper(spec: SpecRegistry, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the entry under its tag, as somebody who may write there could."""
    tag = f"layer-{KEY[:40]}"
    entry = json.loads(spec.manifests[tag][1])
    change(entry)
    spec.manifests[tag] = (MANIFEST, json.dumps(entry).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry["annotations"].update({cache.KEY: KEY[::-1]}),
        lambda entry: entry["annotations"].pop(cache.DIFF_ID),
        lambda entry: entry.update({"artifactType": cache.FILE_TYPE}),
        lambda entry: entry["layers"].append(entry["layers"][0]),
        lambda entry: entry["layers"][0].update({"digest": "../../etc/passwd"}),
        lambda entry: entry.pop("layers"),
    ],
    ids=["key", "diff id", "kind", "two blobs", "digest", "no blob"],
)
def test_an_entry_that_is_not_what_was_asked_for(
    spec: SpecRegistry, machine: Callable[[str, str], Machine], change: Callable[[dict[str, Any]], None]
) -> None:
    one = machine("one", spec.host)
    one.cache.keep(KEY, layer_of(one.store), title="x")
    tamper(spec, change)
    assert one.cache.find(KEY, media_type=GZIP) is None
    (warning,) = one.warnings
    assert warning.startswith(f"refused what {one.cache.name} has for the key {KEY[:12]}: ")


def test_a_layer_that_is_not_what_its_entry_says(spec: SpecRegistry, machine: Callable[[str, str], Machine]) -> None:
    one, two = machine("one", spec.host), machine("two", spec.host)
    layer, other = layer_of(one.store), layer_of(one.store, b"another\n")
    one.cache.keep(KEY, layer, title="x")
    tamper(spec, lambda entry: entry["annotations"].update({cache.DIFF_ID: other.diff_id}))
    found = two.cache.find(KEY, media_type=GZIP)
    assert found is not None
    assert not two.cache.fetch(found, key=KEY)
    assert f"the diff id of {layer.digest} is {layer.diff_id}, not {other.diff_id}" in two.warnings[0]
    # The bytes themselves: what comes has another digest.
    tamper(spec, lambda entry: entry["annotations"].update({cache.DIFF_ID: layer.diff_id}))
    three = machine("three", spec.host)
    spec.blobs[layer.digest] = bytes(layer.size)
    assert not three.cache.fetch(layer, key=KEY)
    assert not three.store.has_blob(layer.digest)
    assert "cannot read the cache" in three.warnings[0]


def test_files_by_key(spec: SpecRegistry, machine: Callable[[str, str], Machine], tmp_path: Path) -> None:
    one, two = machine("one", spec.host), machine("two", spec.host)
    wheel = tmp_path / "built.whl"
    wheel.write_bytes(b"PK a wheel")
    assert two.cache.get_file(KEY) is None
    one.cache.keep_file(KEY, wheel, name="made-1.0-py3-none-any.whl")
    found = two.cache.get_file(KEY)
    assert found is not None
    assert (found.name, found.size) == ("made-1.0-py3-none-any.whl", 10)
    assert two.store.file_path(found.sha256).read_bytes() == b"PK a wheel"
    one.cache.keep_file(KEY[::-1], wheel, name="../../.profile")
    assert two.cache.get_file(KEY[::-1]) is None
    assert "is no name of a file" in two.warnings[0]


def test_a_cache_that_cannot_be_used_is_one_warning(
    private: Server, machine: Callable[[str, str], Machine], tmp_path: Path
) -> None:
    one = machine("one", private.host)
    layer = layer_of(one.store)
    for _ in range(2):
        assert one.cache.find(KEY, media_type=GZIP) is None
        assert one.cache.have([layer.digest]) == set()
        one.cache.keep(KEY, layer, title="x")
    read, write = one.warnings
    assert read.startswith(f"cannot read the cache {private.host}/team/cache: ")
    assert "it wants credentials" in read
    assert write.startswith(f"cannot write the cache {private.host}/team/cache: ")
    nowhere = machine("two", "127.0.0.1:1")
    assert nowhere.cache.find(KEY, media_type=GZIP) is None
    assert len(nowhere.warnings) == 1
