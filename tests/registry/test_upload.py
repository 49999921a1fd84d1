"""Uploads in chunks at registries that limit them, count otherwise, or fail on the way: what has come is not sent
again."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from small_images import add_image
from spec_registry import SpecRegistry
from test_push import noise

from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.push import Manner, push_image
from builder.registry.upload import Limits
from builder.report import Quiet
from builder.store import Store, StoredImage


@pytest.fixture
def access(home: Path) -> Access:
    return Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,) * 3)


def push(image: StoredImage, spec: SpecRegistry, store: Store, access: Access, limits: Limits) -> None:
    to, manner = parse(f"{spec.host}/x:v1"), Manner(limits=limits, parallel=1)
    push_image(image, to=to, store=store, access=access, report=Quiet(), manner=manner)


def count(spec: SpecRegistry, method: str) -> int:
    return sum(line.startswith(f"{method} ") for line in spec.asked)


def drain(request: Any) -> int:
    """Read the body of a request; its length."""
    length = int(request.headers.get("Content-Length") or 0)
    request.rfile.read(length)
    return length


@pytest.mark.parametrize("said", ["0-0", "0-999"])
def test_one_that_counts_otherwise(spec: SpecRegistry, source: Store, access: Access, said: str) -> None:
    def always(request: Any) -> bool:
        if request.command != "PATCH":
            return False
        drain(request)
        request.answer(202, headers={"Location": request.path, "Range": said})
        return True

    spec.on("/blobs/uploads/", always)
    image = add_image(source, "x", [noise(source, 10_000)])
    push(image, spec, source, access, Limits(chunk=1000, threshold=2000))
    assert image.layers[0].digest in spec.blobs
    assert count(spec, "PATCH") <= 2


def test_a_limit_that_is_met_on_the_way(spec: SpecRegistry, source: Store, access: Access) -> None:
    def narrow(request: Any) -> bool:
        if request.command == "PATCH" and spec.received and int(request.headers["Content-Length"]) > 1 << 20:
            drain(request)
            request.answer(413)
            return True
        return False

    spec.on("/blobs/uploads/", narrow)
    image = add_image(source, "x", [noise(source, 5 << 20)])
    push(image, spec, source, access, Limits(chunk=3 << 20, threshold=4 << 20))
    documents = int(image.manifest["config"]["size"])
    assert spec.received <= (5 << 20) + documents  # the three that had come were kept


@pytest.mark.parametrize("told", [True, False])
def test_a_push_that_goes_on_knows_the_limits(spec: SpecRegistry, source: Store, access: Access, told: bool) -> None:
    """Those that the registry told when the upload was opened, or that were found out with a 413."""
    most = 1 << 20
    broken, wide = [True], list[int]()

    class Handler(spec._server.RequestHandlerClass):  # type: ignore[misc, name-defined]
        def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
            if told and self.command == "POST" and status == 202:
                headers = {**(headers or {}), "OCI-Chunk-Max-Length": str(most)}
            super().answer(status, data, headers)

    spec._server.RequestHandlerClass = Handler

    def limited(request: Any) -> bool:
        if request.command not in ("PATCH", "PUT"):
            return False
        length = int(request.headers.get("Content-Length") or 0)
        if length > most:
            wide.append(drain(request))
            request.answer(413)
            return True
        if broken[0] and spec.received >= 3 * most:
            drain(request)
            request.answer(500)
            return True
        return False

    spec.on("/blobs/uploads/", limited)
    image, size = add_image(source, "x", [noise(source, 8 << 20)]), 8 << 20
    limits = Limits(chunk=3 << 20, threshold=4 << 20)
    with pytest.raises(RegistryError, match="500"):
        push(image, spec, source, access, limits)
    assert bool(wide) is not told
    wide.clear()
    broken[0] = False
    push(image, spec, source, dataclasses.replace(access, stop=type(access.stop)()), limits)
    assert wide == []
    assert spec.received <= size + int(image.manifest["config"]["size"])
