"""Registries that do less, or do it otherwise, than the spec says, as some in the wild do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_images import add_image, two_layers
from spec_registry import SpecRegistry

from builder import oci
from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.answers import retry_after
from builder.registry.client import Access, Client
from builder.registry.places import Place
from builder.registry.pull import pull_image
from builder.registry.push import push_image
from builder.report import Quiet
from builder.store import Store


class Odd(SpecRegistry):
    """Answers some requests in a way of its own: `rule(handler)` is true if it has."""

    def __init__(self, rule: Callable[..., bool]) -> None:
        super().__init__()
        handler = self._server.RequestHandlerClass

        class Handler(handler):  # type: ignore[misc, valid-type]
            def serve(self) -> None:
                if not rule(self):
                    super().serve()

            do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = serve  # noqa: N815

        self._server.RequestHandlerClass = Handler


@pytest.fixture
def odd() -> Iterator[Callable[[Callable[..., bool]], Odd]]:
    made: list[Odd] = []

    def make(rule: Callable[..., bool]) -> Odd:
        made.append(Odd(rule))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def access(home: Path) -> Access:
    return Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,) * 2)


def there_and_back(host: str, source: Store, store: Store, access: Access) -> None:
    image = add_image(source, "x", two_layers(source))
    to = parse(f"{host}/team/x:v1")
    push_image(image, to=to, store=source, access=access, report=Quiet())
    pulled = pull_image(to, name="x", platform="linux/amd64", store=store, access=access, report=Quiet())
    assert pulled.descriptor == image.descriptor


@pytest.mark.parametrize("status", [405, 501])
def test_one_without_head(odd: Callable[..., Odd], source: Store, store: Store, access: Access, status: int) -> None:
    def no_head(request: Any) -> bool:
        if request.command == "HEAD":
            request.answer(status)
            return True
        return False

    registry = odd(no_head)
    there_and_back(registry.host, source, store, access)
    image = source.image("x")
    assert image is not None
    again = push_image(image, to=parse(f"{registry.host}/team/x:v2"), store=source, access=access, report=Quiet())
    assert again.blobs == ()  # it has the manifest


def test_uploads_that_are_led_elsewhere(odd: Callable[..., Odd], source: Store, store: Store, access: Access) -> None:
    def moved(request: Any) -> bool:
        path = request.path
        if request.command in ("POST", "PUT") and "moved=" not in path:
            request.rfile.read(int(request.headers.get("Content-Length") or 0))
            mark = "&" if "?" in path else "?"
            request.answer(307, headers={"Location": f"{path}{mark}moved=1"})
            return True
        return False

    there_and_back(odd(moved).host, source, store, access)


def test_one_that_only_reads(odd: Callable[..., Odd], source: Store, store: Store, access: Access) -> None:
    def closed(request: Any) -> bool:
        if request.command == "POST":
            request.answer(405, b'{"errors": [{"code": "UNSUPPORTED"}]}')
            return True
        return False

    with pytest.raises(RegistryError) as caught:
        there_and_back(odd(closed).host, source, store, access)
    assert "hint: this registry only reads, or is a mirror: push to the registry itself" in str(caught.value)


def test_a_tag_that_may_not_move(odd: Callable[..., Odd], source: Store, store: Store, access: Access) -> None:
    def fixed(request: Any) -> bool:
        if request.command == "PUT" and "/manifests/" in request.path:
            request.rfile.read(int(request.headers["Content-Length"]))
            said = {"errors": [{"code": "DENIED", "message": "tag v1 is immutable"}]}
            request.answer(409, json.dumps(said).encode())
            return True
        return False

    with pytest.raises(RegistryError) as caught:
        there_and_back(odd(fixed).host, source, store, access)
    assert "tag v1 is immutable" in str(caught.value)
    assert "hint: " in str(caught.value)


def test_an_index_that_names_no_platform(odd: Callable[..., Odd], source: Store, store: Store, access: Access) -> None:
    registry = odd(lambda _: False)
    image = add_image(source, "x", two_layers(source))
    push_image(image, to=parse(f"{registry.host}/team/x:v1"), store=source, access=access, report=Quiet())
    index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [image.descriptor.to_json()]}
    registry.manifests["lone"] = (oci.INDEX, json.dumps(index).encode())
    reference = parse(f"{registry.host}/team/x:lone")
    pulled = pull_image(reference, name="x", platform="linux/amd64", store=store, access=access, report=Quiet())
    assert pulled.descriptor == image.descriptor
    with pytest.raises(RegistryError, match="is an image for `linux/amd64`, not for `linux/arm64`"):
        pull_image(reference, name="x", platform="linux/arm64", store=store, access=access, report=Quiet())


def test_an_address_without_encryption_is_taken_with_it(access: Access) -> None:
    reference = parse("registry.test:8443/team/x")
    client = Client(reference, access=access, at=Place(reference=reference))
    assert client.absolute("http://registry.test/v2/team/x/blobs/uploads/1?a=b") == (
        "https://registry.test:8443/v2/team/x/blobs/uploads/1?a=b"
    )
    assert client.absolute("/v2/x") == "https://registry.test:8443/v2/x"
    assert client.absolute("http://elsewhere.test/x") == "http://elsewhere.test/x"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "700"}, 60),
        # The server's clock is years behind: only the difference counts.
        ({"Retry-After": "Mon, 01 Jan 2018 00:00:09 GMT", "Date": "Mon, 01 Jan 2018 00:00:00 GMT"}, 9),
        ({"Retry-After": "Mon, 01 Jan 2018 00:00:00 GMT", "Date": "Mon, 01 Jan 2018 00:00:09 GMT"}, 0),
        ({"Retry-After": "Mon, 01 Jan 2018 00:00:09 GMT"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({}, 0),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(SimpleNamespace(headers=headers)) == seconds  # type: ignore[arg-type]
