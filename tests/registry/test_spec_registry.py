"""Against a registry that does all the spec asks: uploads resumed inside a chunk, referrers with and without API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from small_images import add_image, two_layers
from small_registry import Server
from spec_registry import SpecRegistry
from test_push import PUSH, noise

from builder import oci
from builder.reference import Reference, parse
from builder.registry.client import Access
from builder.registry.push import push_image
from builder.registry.referrers import attach, fallback_tag, referrers
from builder.report import Quiet
from builder.store import Store, StoredImage
from tests.conftest import ROOT

SBOM = "application/spdx+json"


@pytest.fixture
def access(home: Path) -> Access:
    return Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,) * 3)


def test_kill_9_inside_a_chunk(spec: SpecRegistry, source: Store) -> None:
    size = 3_000_000
    image = add_image(source, "x", [noise(source, size)])
    held, release = threading.Event(), threading.Event()

    def hold(received: int) -> None:
        if received > 1_234_000 and not held.is_set():
            held.set()
            release.wait(60)

    spec.hold = hold
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = PUSH.replace("100_000", "1_000_000").replace("200_000", "1_000_000")
    argv = [sys.executable, "-c", code, str(source.root), f"{spec.host}/x:v1"]
    child = subprocess.Popen(argv, env=env)
    assert held.wait(60)
    child.kill()
    child.wait()
    release.set()
    for _ in range(500):  # what was on its way still arrives
        before = spec.received
        threading.Event().wait(0.02)
        if before == spec.received:
            break
    arrived = spec.received
    assert 1_234_000 < arrived < size
    subprocess.run(argv, env=env, check=True)
    documents = int(image.manifest["config"]["size"])
    assert spec.received <= size + documents  # not one byte twice
    assert len(spec.blobs[image.layers[0].digest]) == size


def push(spec_or_server: SpecRegistry | Server, source: Store, access: Access) -> tuple[Reference, StoredImage]:
    image = add_image(source, "x", two_layers(source))
    push_image(image, to=parse(f"{spec_or_server.host}/x:v1"), store=source, access=access, report=Quiet())
    return parse(f"{spec_or_server.host}/x@{image.digest}"), image


def add(subject: Reference, image: StoredImage, access: Access, text: str, kind: str = SBOM) -> oci.Descriptor:
    return attach(
        subject,
        to=image.descriptor,
        artifact_type=kind,
        blobs=[(kind, text.encode())],
        annotations={"org.example.text": text},
        access=access,
    )


def check(subject: Reference, image: StoredImage, access: Access) -> None:
    assert referrers(subject, access=access) == []
    first = add(subject, image, access, "one")
    second = add(subject, image, access, "two", kind="application/vnd.in-toto+json")
    assert add(subject, image, access, "one") == first  # once more changes nothing
    assert {one.descriptor.digest for one in referrers(subject, access=access)} == {first.digest, second.digest}
    (sbom,) = referrers(subject, access=access, artifact_type=SBOM)
    assert sbom.descriptor == first


def test_referrers_api(spec: SpecRegistry, source: Store, access: Access) -> None:
    subject, image = push(spec, source, access)
    check(subject, image, access)
    assert fallback_tag(image.digest) not in spec.manifests


def test_referrers_by_the_fallback_tag(public: Server, source: Store, access: Access) -> None:
    subject, image = push(public, source, access)
    check(subject, image, access)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>welcome</html>"),
        ("application/json", b'{"welcome": true}'),
        ("application/json", b"[]"),
    ],
)
def test_one_that_answers_every_path_with_a_page(
    spec: SpecRegistry, source: Store, access: Access, kind: str, body: bytes
) -> None:
    spec.has_api = False
    spec.on("/referrers/", lambda request: request.answer(200, body, {"Content-Type": kind}))
    subject, image = push(spec, source, access)
    check(subject, image, access)


@pytest.mark.parametrize("kind", [f"{oci.INDEX}; charset=utf-8", oci.INDEX.title(), "application/json", ""])
def test_a_list_of_referrers_by_any_name(spec: SpecRegistry, source: Store, access: Access, kind: str) -> None:
    class Handler(spec._server.RequestHandlerClass):  # type: ignore[misc, name-defined]
        def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
            named = {"Content-Type": kind} if kind else {}
            super().answer(status, data, named if "/referrers/" in self.path else headers)

    spec._server.RequestHandlerClass = Handler
    subject, image = push(spec, source, access)
    check(subject, image, access)
    assert fallback_tag(image.digest) not in spec.manifests


def test_two_writers_of_the_fallback_tag(
    spec: SpecRegistry, source: Store, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec.has_api = False
    subject, image = push(spec, source, access)
    tag = fallback_tag(image.digest)
    from builder.registry import referrers as module

    original, raced = module.put_manifest, []

    def put(client: object, document: object, *, pointer: str) -> object:
        answer = original(client, document, pointer=pointer)  # type: ignore[arg-type]
        if pointer == tag and not raced:  # another writer, who has not seen ours, comes right after
            raced.append(pointer)
            empty = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []}
            spec.manifests[tag] = (oci.INDEX, json.dumps(empty).encode())
        return answer

    monkeypatch.setattr(module, "put_manifest", put)
    made = add(subject, image, access, "one")
    assert raced
    assert [one.descriptor for one in referrers(subject, access=access)] == [made]
