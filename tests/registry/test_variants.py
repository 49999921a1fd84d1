"""Variants of an architecture: the usual one may be written out, by who asks and in the index, or not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small_images import add_image, two_layers
from spec_registry import SpecRegistry

from builder import oci
from builder.errors import RegistryError
from builder.reference import parse
from builder.registry.browse import look
from builder.registry.client import Access
from builder.registry.pull import pull_documents
from builder.registry.push import push_image
from builder.report import Quiet
from builder.store import Store


@pytest.mark.parametrize(
    ("wanted", "offered", "there"),
    [
        ("linux/arm64/v8", ("arm64", ""), True),
        ("linux/arm64/v8", ("arm64", "v8"), True),
        ("linux/arm64", ("arm64", "v8"), True),
        ("linux/amd64", ("amd64", "v1"), True),
        ("linux/amd64/v1", ("amd64", ""), True),
        ("linux/amd64", ("amd64", "v3"), False),
        ("linux/arm", ("arm", "v7"), True),
        ("linux/arm/v7", ("arm", ""), True),
        ("linux/arm", ("arm", "v6"), False),
    ],
)
def test_variants(
    spec: SpecRegistry, source: Store, store: Store, home: Path, wanted: str, offered: tuple[str, str], there: bool
) -> None:
    architecture, variant = offered
    access = Access(env={"HOME": str(home), "PATH": os.environ["PATH"]}, pauses=())
    other = add_image(source, "other", two_layers(source), platform="linux/s390x")
    image = add_image(source, "x", two_layers(source), platform=f"linux/{architecture}")
    for one in (other, image):
        push_image(one, to=parse(f"{spec.host}/x:one"), store=source, access=access, report=Quiet())
    written = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
    entries = [
        {**other.descriptor.to_json(), "platform": {"os": "linux", "architecture": "s390x"}},
        {**image.descriptor.to_json(), "platform": written},
    ]
    index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}
    spec.manifests["all"] = (oci.INDEX, json.dumps(index).encode())
    reference = parse(f"{spec.host}/x:all")
    if there:
        pulled = pull_documents(reference, platform=wanted, store=store, access=access, report=Quiet())
        assert pulled.descriptor == image.descriptor
        assert look(reference, platform=wanted, access=access).image == image.descriptor
    else:
        with pytest.raises(RegistryError, match=f"has no image for the platform `{wanted}`"):
            pull_documents(reference, platform=wanted, store=store, access=access, report=Quiet())
