"""What repositories and images hold, from manifests and configurations alone: no layer is ever downloaded."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import quote

from builder.errors import RegistryError
from builder.frozen import frozen
from builder.oci import DOCKER_INDEX, INDEX, Descriptor, Document, platforms
from builder.reference import Reference
from builder.registry.client import Access, Client
from builder.registry.places import full
from builder.registry.pull import get_manifest
from builder.registry.workers import in_parallel
from builder.store.images import digest_of

PARALLEL = 8
_PAGE = 1000


@frozen
class Remote:
    """An image of a registry: `digest` is what the tag stands for, `image` the manifest of the platform shown."""

    reference: Reference
    digest: str
    image: Descriptor
    manifest: dict[str, Any]
    config: dict[str, Any]
    platforms: tuple[str, ...] = ()
    """Of an index; empty for a single image."""

    @property
    def size(self) -> int:
        """Bytes of configuration and layers as they are stored."""
        return int(self.manifest["config"]["size"]) + sum(int(layer["size"]) for layer in self.manifest["layers"])

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return dict((self.config.get("config") or {}).get("Labels") or {})


def tags(reference: Reference, *, access: Access) -> list[str]:
    """All tags of the repository, in order."""
    client = Client(reference, access=access)
    found: list[str] = []
    url = client.url(f"tags/list?n={_PAGE}")
    while url:
        what = f"the tags of `{client.reference.name}`"
        response = client.steadily("GET", url, what=what)
        if response.status_code != 200:
            raise client.refused(response, what=what)
        try:
            found += [str(tag) for tag in json.loads(response.content).get("tags") or ()]
        except (ValueError, AttributeError, TypeError) as problem:
            raise RegistryError(f"could not read {what}", hint="is that address a registry's?") from problem
        url = client.next_page(response)
    return sorted(set(found))


def look(reference: Reference, *, platform: str, access: Access) -> Remote:
    """What a tag or digest stands for; of an index, the image for `platform`, else its first."""
    client = Client(reference, access=access)
    document = first = get_manifest(client, pointer=client.reference.pointer)
    offered: tuple[str, ...] = ()
    while document.descriptor.media_type in (INDEX, DOCKER_INDEX):
        found = _images(document, reference=reference)
        offered = tuple(found)
        document = get_manifest(client, pointer=(found.get(platform) or next(iter(found.values()))).digest)
    try:
        manifest = json.loads(document.data)
        config = _config(client, Descriptor.from_json(manifest["config"]))
        [int(layer["size"]) for layer in manifest["layers"]]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RegistryError(
            f"`{reference}` is not an image that can be shown: {problem!r}", hint="it is another kind of artifact"
        ) from problem
    return Remote(
        reference=full(reference, env=access.env),
        digest=first.descriptor.digest,
        image=document.descriptor,
        manifest=manifest,
        config=config,
        platforms=offered,
    )


def look_at_all(
    reference: Reference, names: list[str], *, platform: str, access: Access
) -> dict[str, Remote | RegistryError]:
    """What each tag stands for, or why it cannot be said, in the order of `names`."""
    found: dict[str, Remote | RegistryError] = {}

    def work(name: str) -> None:
        try:
            found[name] = look(dataclasses.replace(reference, tag=name, digest=""), platform=platform, access=access)
        except RegistryError as problem:
            found[name] = problem

    in_parallel(work, names, parallel=PARALLEL, stop=access.stop)
    return {name: found[name] for name in names}


def _images(document: Document, *, reference: Reference) -> dict[str, Descriptor]:
    try:
        found = platforms(json.loads(document.data))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RegistryError(f"the index `{reference}` is damaged: {problem!r}", hint="push it again") from problem
    if not found:
        raise RegistryError(f"the index `{reference}` holds no image", hint="it is another kind of artifact")
    return found


def _config(client: Client, descriptor: Descriptor) -> dict[str, Any]:
    what = f"the configuration of `{client.reference.name}`"
    data = client.get(f"blobs/{quote(descriptor.digest, safe=':')}", what=what).content
    if digest_of(data) != descriptor.digest:
        raise RegistryError(
            f"`{client.registry}` sent another blob for {what}",
            details=f"expected {descriptor.digest}\ngot      {digest_of(data)}",
            hint="something on the way changes what is sent, or the registry's storage is damaged",
        )
    config: dict[str, Any] = json.loads(data)
    return config
