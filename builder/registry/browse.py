"""What repositories and images hold, from manifests and configurations alone: no layer is ever downloaded."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from builder.errors import RegistryError
from builder.frozen import frozen
from builder.oci import DOCKER_INDEX, INDEX, Descriptor, Document, image_for, platforms
from builder.reference import DEFAULT_TAG, Reference
from builder.registry.answers import TOO_MANY
from builder.registry.client import Access, Client
from builder.registry.places import full
from builder.registry.pull import get_manifest
from builder.registry.workers import in_parallel
from builder.store.images import digest_of

PARALLEL = 8
_PAGE = 1000
_PAGES = 10_000
"""No list has so many pages: a registry that leads in a circle ends there."""
_REFERRERS = re.compile(r"sha256-[0-9a-f]{64}(\..+)?")
"""Tags of signatures and the like, which stand beside an image's own."""


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
    """All tags of the repository as a person counts, `v2` before `v10`, `latest` last; without those of signatures."""
    client = Client(reference, access=access)
    found: set[str] = set()
    url = client.url(f"tags/list?n={_PAGE}")
    what = f"the tags of `{client.reference.name}`"
    for _ in range(_PAGES):
        response = client.steadily("GET", url, what=what)
        if response.status_code != 200:
            raise client.refused(response, what=what)
        try:
            found.update(str(tag) for tag in json.loads(response.content).get("tags") or ())
        except (ValueError, AttributeError, TypeError) as problem:
            raise RegistryError(f"could not read {what}", hint="is that address a registry's?") from problem
        before, url = url, client.next_page(response)
        if url in ("", before):
            break
    return sorted((tag for tag in found if not _REFERRERS.fullmatch(tag)), key=_as_counted)


def _as_counted(tag: str) -> tuple[bool, list[tuple[int, int, str]]]:
    words = [word for word in re.split(r"([0-9]+)", tag) if word]
    return tag == DEFAULT_TAG, [(0, int(word), word) if word.isdecimal() else (1, 0, word) for word in words]


def look(reference: Reference, *, platform: str, access: Access) -> Remote:
    """What a tag or digest stands for; of an index, the image for `platform`, else its first."""
    return _Looker(reference, platform=platform, access=access).look(reference)


def look_at_all(
    reference: Reference,
    names: Sequence[str],
    *,
    platform: str,
    access: Access,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Remote | RegistryError]:
    """What each tag stands for, or why it cannot be said, in the order of `names`.

    A manifest is asked for once for each tag, what several tags share once in all.  `advance` is told how many are
    done.  Where the registry limits requests, nothing more is asked.
    """
    found: dict[str, Remote | RegistryError] = {}
    looker = _Looker(reference, platform=platform, access=access)
    limited: list[RegistryError] = []

    def work(name: str) -> None:
        try:
            if limited:
                raise limited[0]
            found[name] = looker.look(dataclasses.replace(reference, tag=name, digest=""))
        except RegistryError as problem:
            found[name] = problem
            if problem.status == TOO_MANY:
                limited.append(problem)
        if advance is not None:
            advance(len(found))

    in_parallel(work, names, parallel=PARALLEL, stop=access.stop)
    return {name: found[name] for name in names}


class _Looker:
    """Looks at images of one repository, at each document once.  For threads."""

    def __init__(self, reference: Reference, *, platform: str, access: Access) -> None:
        self._client = Client(reference, access=access)
        self._access = access
        self._platform = platform
        self._lock = threading.Lock()
        self._begun: dict[str, tuple[threading.Lock, list[Any]]] = {}

    def look(self, reference: Reference) -> Remote:
        """See `look` of this module."""
        pointer = reference.pointer
        document = first = get_manifest(self._client, pointer=pointer)
        offered: tuple[str, ...] = ()
        while document.descriptor.media_type in (INDEX, DOCKER_INDEX):
            found = _images(document, reference=reference)
            offered = offered or tuple(found)
            digest = (image_for(found, platform=self._platform) or next(iter(found.values()))).digest
            document = self._once(digest, partial(get_manifest, self._client, pointer=digest))
        try:
            manifest = json.loads(document.data)
            descriptor = Descriptor.from_json(manifest["config"])
            config = self._once(descriptor.digest, lambda: _config(self._client, descriptor))
            [int(layer["size"]) for layer in manifest["layers"]]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise RegistryError(
                f"`{reference}` is not an image that can be shown: {problem!r}", hint="it is another kind of artifact"
            ) from problem
        return Remote(
            reference=full(reference, env=self._access.env),
            digest=first.descriptor.digest,
            image=document.descriptor,
            manifest=manifest,
            config=config,
            platforms=offered,
        )

    def _once(self, digest: str, get: Callable[[], Any]) -> Any:
        with self._lock:
            lock, kept = self._begun.setdefault(digest, (threading.Lock(), []))
        with lock:
            if not kept:
                kept.append(get())
            return kept[0]


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
