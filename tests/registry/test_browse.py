"""Listing many tags: each manifest once, what tags share once in all, page after page; and what is not looked at."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_images import add_image, two_layers
from small_registry import Server
from spec_registry import SpecRegistry

from builder import oci
from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.browse import look_at_all, tags
from builder.registry.client import Access, Client
from builder.registry.push import push_image, put_manifest
from builder.report import Quiet
from builder.store import Store
from tests.conftest import Cogsmith

MANY = 150


@pytest.fixture
def access(home: Path) -> Access:
    return Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,))


def fill(host: str, source: Store, access: Access, *, names: list[str]) -> str:
    """An image under all these tags; its digest."""
    image = add_image(source, "x", two_layers(source))
    to = parse(f"{host}/team/x:{names[0]}")
    push_image(image, to=to, store=source, access=access, report=Quiet())
    client = Client(to, access=access, actions="pull,push")
    document = oci.Document(descriptor=image.descriptor, data=source.read_blob(image.digest))
    for name in names[1:]:
        put_manifest(client, document, pointer=name)
    return image.digest


def test_hundreds_of_tags(
    start: Callable[[str], Server], source: Store, access: Access, cogsmith: Cogsmith, home: Path
) -> None:
    """Debian's registry behind what it calls its own page size: it gives a `Link`, with as many as were asked for."""
    server = start("")
    digest = fill(server.host, source, access, names=[f"v{number}" for number in range(MANY)])
    repository = f"{server.host}/team/x"
    env = {"HOME": str(home)}
    before = server.log.read_text()
    shown = cogsmith("list", repository, env=env)
    asked = re.findall(r'"GET (/v2/team/x/\S+) HTTP', server.log.read_text()[len(before) :])
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == [
        f"v{number}" for number in range(MANY - 100, MANY)
    ]
    assert "50 tags more: `--limit 0` looks at all of them" in shown.err
    assert sorted(asked) == sorted(
        ["/v2/team/x/tags/list?n=1000"]
        + [f"/v2/team/x/manifests/v{number}" for number in range(MANY - 100, MANY)]
        + [path for path in asked if "/blobs/" in path][:1]
    )
    rows = json.loads(cogsmith("list", "--json", "--limit", "0", repository, env=env).out)
    assert [row["tag"] for row in rows] == [f"v{number}" for number in range(MANY)]
    assert {row["digest"] for row in rows} == {digest}
    before = server.log.read_text()
    assert cogsmith("list", "-q", repository, env=env).out.split() == [f"v{number}" for number in range(MANY)]
    assert "/manifests/" not in server.log.read_text()[len(before) :]


@pytest.mark.parametrize("relative", [True, False])
def test_pages(spec: SpecRegistry, access: Access, relative: bool) -> None:
    names = ["v10", "v9", f"sha256-{'a' * 64}.sig", f"sha256-{'b' * 64}", "latest", "v1", "v1-cpu"]

    def pages(request: Any) -> None:
        at = int(re.findall(r"at=(\d+)", request.path)[0]) if "at=" in request.path else 0
        after = f"/v2/team/x/tags/list?n=1000&at={at + 2}"
        link = {"Link": f'<{after if relative else f"http://{spec.host}{after}"}>; rel="next"'}
        body = json.dumps({"name": "team/x", "tags": names[at : at + 2] or None}).encode()
        request.answer(200, body, link if at < len(names) else {})

    spec.on("/tags/list", pages)
    assert tags(parse(f"{spec.host}/team/x"), access=access) == ["v1", "v1-cpu", "v9", "v10", "latest"]


def test_pages_that_never_end(spec: SpecRegistry, access: Access) -> None:
    def again(request: Any) -> None:
        link = {"Link": '</v2/team/x/tags/list?n=1000&last=v1>; rel="next"'}
        request.answer(200, b'{"tags": ["v1"]}', link)

    spec.on("/tags/list", again)
    assert tags(parse(f"{spec.host}/team/x"), access=access) == ["v1"]
    assert len(spec.asked) < 5


def test_a_document_without_end(spec: SpecRegistry, access: Access) -> None:
    spec.on("/manifests/", lambda request: request.answer(200, bytes(33 << 20)))
    found = look_at_all(parse(f"{spec.host}/team/x"), ["v1"], platform="linux/amd64", access=access)
    assert "is too large: more than 33554432 bytes" in str(found["v1"])


def test_where_pulls_are_counted(spec: SpecRegistry, access: Access) -> None:
    """As at Docker's registry without a login: when there are no more, asking goes no further."""
    names = [f"v{number}" for number in range(100)]

    def enough(request: Any) -> None:
        said = {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit"}]}
        request.answer(429, json.dumps(said).encode())

    spec.on("/manifests/", enough)
    found = look_at_all(parse(f"{spec.host}/team/x"), names, platform="linux/amd64", access=access)
    assert list(found) == names
    problems = [one for one in found.values() if isinstance(one, RegistryError)]
    assert len(problems) == len(names)
    assert "You have reached your pull rate limit" in str(problems[-1])
    assert "log in (`cogsmith login" in str(problems[-1])
    assert len(spec.asked) < 40  # twice for each of those that were on their way
