"""The large registries' own ways: what is said where a repository is missing or a login has run out, and no chunks."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from small_images import add_image, add_layer, tar_of
from spec_registry import SpecRegistry

from builder.errors import RegistryError
from builder.reference import parse
from builder.registry import hosts
from builder.registry.answers import refusal
from builder.registry.client import Access
from builder.registry.push import Manner, push_image
from builder.registry.upload import Limits
from builder.report import Quiet
from builder.store import Store

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture
def access(home: Path) -> Access:
    return Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=(0.0,) * 4)


def answer(status: int, data: bytes = b"", media_type: str = "application/json") -> Any:
    return SimpleNamespace(status_code=status, reason="", content=data, headers={"Content-Type": media_type})


@pytest.mark.parametrize(
    ("registry", "said"),
    [
        (ECR, "aws ecr get-login-password --region eu-west-1 | cogsmith login -u AWS --password-stdin " + ECR),
        ("public.ecr.aws", "aws ecr-public get-login-password"),
        ("europe-west4-docker.pkg.dev", "gcloud auth configure-docker europe-west4-docker.pkg.dev"),
        ("gcr.io", "-u oauth2accesstoken --password-stdin gcr.io"),
        ("ghcr.io", "`write:packages`"),
        ("mine.azurecr.io", "az acr login -n mine --expose-token"),
        ("docker.io", "access token"),
        ("registry.example.com:5000", "`cogsmith login registry.example.com:5000`"),
        ("ecr.amazonaws.com.example.com", "`cogsmith login ecr.amazonaws.com.example.com`"),
    ],
)
def test_how_one_logs_in(registry: str, said: str) -> None:
    assert said in hosts.log_in(registry)
    assert said in str(refusal(answer(401), what="`x`", do="push", registry=registry, repository="team/x"))
    assert "{" not in hosts.log_in(registry) + hosts.create(registry, repository="team/x")


def test_a_repository_that_nobody_has_made() -> None:
    unknown = json.dumps({"errors": [{"code": "NAME_UNKNOWN", "message": "The repository does not exist"}]}).encode()
    error = refusal(answer(404, unknown), what="`x`", do="push", registry=ECR, repository="team/x")
    assert error.details == "NAME_UNKNOWN: The repository does not exist"
    assert "make the repository there first: `aws ecr create-repository --region eu-west-1" in str(error.hint)
    assert "--repository-name team/x`" in str(error.hint)
    error = refusal(answer(404), what="`x`", do="push", registry="r.example.com", repository="team/x")
    assert "make the repository there first" in str(error.hint)
    error = refusal(answer(404), what="`x`", do="get", registry=ECR, repository="team/x")
    assert "check the spelling" in str(error.hint)


def test_what_a_proxy_says() -> None:
    denied = answer(403, b"denied by policy 7\nmore", "text/plain; charset=utf-8")
    plain = refusal(denied, what="`x`", do="get", registry="r.io")
    assert plain.details == "denied by policy 7"
    page = refusal(answer(403, b"<html>denied</html>", "text/html"), what="`x`", do="get", registry="r.io")
    assert page.details is None


@pytest.mark.parametrize(("status", "taken"), [(416, 1), (400, 1), (405, 0), (404, 2)])
def test_one_that_takes_no_chunks(spec: SpecRegistry, source: Store, access: Access, status: int, taken: int) -> None:
    """Or takes one, or two of them: whatever it says then, the blob goes in one piece."""
    image = add_image(source, "x", [add_layer(source, tar_of({"large": os.urandom(9000)}))])
    came: dict[str, int] = {}

    def refuse(request: Any) -> bool:
        name = request.path.rpartition("/")[2]
        if request.command != "PATCH":
            return False
        came[name] = came.get(name, 0) + 1
        if came[name] <= taken:
            return False
        request.rfile.read(int(request.headers["Content-Length"]))
        request.answer(status)
        return True

    spec.on("/blobs/uploads/", refuse)
    manner = Manner(limits=Limits(chunk=2000, threshold=4000))
    push_image(image, to=parse(f"{spec.host}/team/x:v1"), store=source, access=access, report=Quiet(), manner=manner)
    assert spec.blobs[image.layers[0].digest] == source.read_blob(image.layers[0].digest)
    assert 0 < len(came) <= 3


def test_what_many_would_not_take(spec: SpecRegistry, source: Store, access: Access) -> None:
    class Warnings(Quiet):
        lines: ClassVar[list[str]] = []

        def warn(self, text: str) -> None:
            self.lines.append(text)

    layer = add_layer(source, tar_of({"x": b"x"}))
    large = dataclasses.replace(layer, digest=f"sha256:{'1' * 64}", size=9_100_000_000)
    spec.blobs[large.digest] = b""  # it says that it has it
    image = add_image(source, "x", [large, *[layer] * 127])
    push_image(image, to=parse(f"{spec.host}/team/x:v1"), store=source, access=access, report=Warnings())
    first, second = Warnings.lines
    assert first.startswith("the layer 111111111111")
    assert "has 9.1 GB: many registries take no more" in first
    assert second == "the image has 128 layers: docker and podman run no more than 127"


def test_one_that_takes_no_zstd(spec: SpecRegistry, source: Store, access: Access) -> None:
    def refuse(request: Any) -> bool:
        if request.command != "PUT":
            return False
        request.rfile.read(int(request.headers["Content-Length"]))
        request.answer(400, b'{"errors": [{"code": "MANIFEST_INVALID", "message": "unknown media type"}]}')
        return True

    spec.on("/manifests/", refuse)
    for compression, said in (("zstd", "build with `--layer-format gzip`"), ("gzip", "see its log")):
        layers = [add_layer(source, tar_of({"x": b"x"}), compression=compression)]
        image = add_image(source, compression, layers)
        to = parse(f"{spec.host}/team/{compression}:v1")
        with pytest.raises(RegistryError, match="unknown media type") as caught:
            push_image(image, to=to, store=source, access=access, report=Quiet())
        assert said in str(caught.value.hint)
