"""Where a registry's answers lead: other hosts, its own by another spelling, addresses relative to the one asked."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from small_images import add_image, two_layers
from spec_registry import SpecRegistry

from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.auth import Credentials
from builder.registry.browse import tags
from builder.registry.client import Access, Client
from builder.registry.push import push_image
from builder.report import Quiet
from builder.store import Store

NAME = "registry.test"
ME = Credentials(username="me", password="hush")


@pytest.fixture
def access(home: Path) -> Access:
    return Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=())


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_who_is_led_to_gets_no_credentials(new: Callable[[], SpecRegistry], access: Access, method: str) -> None:
    registry, storage = new(), new()
    seen: list[tuple[str, str | None]] = []

    def ask(request: Any) -> None:
        seen.append((request.path, request.headers.get("Authorization")))
        where = f"http://{storage.host}/token"
        request.answer(401, headers={"WWW-Authenticate": f'Bearer realm="{where}",service="storage"'})

    storage.on("", ask)
    registry.on("/blobs/", lambda h: h.answer(307, headers={"Location": f"http://{storage.host}/blob?signed=1"}))
    client = Client(parse(f"{registry.host}/x"), access=access, credentials=ME)
    answer = client.request(method, client.url("blobs/sha256:" + "0" * 64))
    assert answer.status_code == 401
    assert seen == [("/blob?signed=1", None)]


class Over(HTTPAdapter):
    """Takes requests for `NAME`, as over TLS, to a registry on loopback."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        there = request.copy()
        there.url = f"http://{self.host}{request.path_url}"
        answer = super().send(there, *args, **kwargs)
        answer.url, answer.request = request.url or "", request
        return answer


@pytest.mark.parametrize(
    "spelt",
    [
        lambda path: f"https://{NAME}:443{path}",
        lambda path: f"https://{NAME.title()}{path}",
        lambda path: path.rpartition("/")[2],  # relative to what was asked
        lambda path: f"//{NAME}{path}",
    ],
    ids=["port", "case", "relative", "no scheme"],
)
def test_the_address_of_an_upload(
    new: Callable[[], SpecRegistry], source: Store, home: Path, spelt: Callable[[str], str]
) -> None:
    registry = new()

    class Handler(registry._server.RequestHandlerClass):  # type: ignore[misc, name-defined]
        def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
            if headers and "Location" in headers:
                headers = {**headers, "Location": spelt(headers["Location"])}
            super().answer(status, data, headers)

    def let_in(request: Any) -> bool:
        if request.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:hush").decode():
            return False
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        request.answer(401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        return True

    registry._server.RequestHandlerClass = Handler
    registry.on("", let_in)

    def session() -> requests.Session:
        made = requests.Session()
        for scheme in ("http", "https"):
            made.mount(f"{scheme}://", Over(registry.host))
        return made

    auth = base64.b64encode(b"me:hush").decode()
    env = {"HOME": str(home), "DOCKER_AUTH_CONFIG": f'{{"auths": {{"{NAME}": {{"auth": "{auth}"}}}}}}'}
    access = Access(env=env, new_session=session, pauses=())
    image = add_image(source, "x", two_layers(source))
    pushed = push_image(image, to=parse(f"{NAME}/team/x:v1"), store=source, access=access, report=Quiet())
    assert {moved.how for moved in pushed.blobs} == {"sent"}
    assert all(layer.digest in registry.blobs for layer in image.layers)


@pytest.mark.parametrize("location", ["http://[x/", "http://127.0.0.1:99999/x"])
def test_an_address_that_is_none(new: Callable[[], SpecRegistry], source: Store, access: Access, location: str) -> None:
    registry = new()
    registry.on("/blobs/uploads/", lambda h: h.answer(202, headers={"Location": location}))
    image = add_image(source, "x", two_layers(source))
    with pytest.raises(RegistryError, match="leads to what is no address") as caught:
        push_image(image, to=parse(f"{registry.host}/x:v1"), store=source, access=access, report=Quiet())
    assert caught.value.hint


@pytest.mark.parametrize(
    "link",
    [
        '</v2/x/tags/list?last=a&n=1>; rel="next"',
        '<?last=a&n=1>; rel="next"',
        '<list?last=a>; rel="next"',
        '</v2/x/tags/list?last=a>; title="more"; rel="next"',
        '</v2/x/tags/list?n=1>; rel="first", </v2/x/tags/list?last=a>; rel="next"',
        "</v2/x/tags/list?last=a>;rel=next",
    ],
)
def test_pages_of_a_list(new: Callable[[], SpecRegistry], access: Access, link: str) -> None:
    registry = new()

    def page(request: Any) -> None:
        if "last=a" in request.path:
            request.answer(200, b'{"tags": ["b"]}')
        else:
            request.answer(200, b'{"tags": ["a"]}', {"Link": link})

    registry.on("/v2/x/tags/list", page)
    assert list(tags(parse(f"{registry.host}/x"), access=access)) == ["a", "b"]
