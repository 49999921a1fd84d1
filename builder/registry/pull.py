"""From a registry into the store: manifests by tag or digest, the image of a platform, blobs; all verified."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import FetchError, RegistryError
from builder.fetch import PARALLEL, Source, Wanted, obtain
from builder.frozen import frozen
from builder.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Descriptor,
    Document,
    PackedLayer,
    image_for,
    platforms,
)
from builder.reference import Reference
from builder.registry import known
from builder.registry.client import Access, Client
from builder.registry.places import full, places
from builder.registry.workers import in_parallel
from builder.report import Report
from builder.store import Partial, Store
from builder.store.images import digest_of, layers_of

if TYPE_CHECKING:
    import requests

_ACCEPT = ", ".join([MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX])
_READINGS = 3
"""A document that is not what its digest says is asked for so often: it may have been cut on the way."""


@frozen
class Pulled:
    """An image of a registry: manifest and configuration are in the store, its layers only once they are pulled."""

    reference: Reference
    descriptor: Descriptor
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: tuple[PackedLayer, ...]


class Origin:
    """A repository with its mirrors: each is asked in turn, the registry itself last."""

    def __init__(self, reference: Reference, *, access: Access, report: Report) -> None:
        self.clients = [Client(at.reference, access=access, at=at) for at in places(reference, env=access.env)]
        self.reference = full(reference, env=access.env)
        self._access = access
        self._report = report

    def manifest(self, pointer: str) -> Document:
        """The manifest or index that a tag or digest stands for."""
        for client in self.clients[:-1]:
            try:
                return get_manifest(client, pointer=pointer)
            except RegistryError as problem:
                self.pass_over(client, problem)
        return get_manifest(self.clients[-1], pointer=pointer)

    def pass_over(self, client: Client, problem: RegistryError) -> None:
        """Ask one that failed, where another did not, no more."""
        if client in self.clients:
            self.clients = [other for other in self.clients if other is not client]
            kind = "the mirror " if client.place.mirror else ""
            self._report.note(f"not from {kind}{client.reference.name}: {problem.brief}")

    def blob(self, descriptor: Descriptor, *, store: Store, stop: threading.Event) -> None:
        """Bring a blob into the store, unless it is there."""
        digest = descriptor.digest
        if store.has_blob(digest):
            return
        label = f"{self.reference.repository} {digest[7:19]}"
        with store.partial_blob(digest, report=self._report) as into:
            if store.has_blob(digest):
                into.discard()
                return
            self._obtain(descriptor, label=label, into=into, target=store.blob_path(digest), stop=stop)

    def file(self, descriptor: Descriptor, *, store: Store, name: str) -> None:
        """Bring a blob among the files of the store, unless it is there."""
        sha256 = descriptor.digest.removeprefix("sha256:")
        if store.has_file(sha256):
            return
        with store.partial_file(sha256, report=self._report) as into:
            if store.has_file(sha256):
                into.discard()
                return
            target = store.file_path(sha256)
            self._obtain(descriptor, label=name, into=into, target=target, stop=threading.Event())

    def _obtain(
        self, descriptor: Descriptor, *, label: str, into: Partial, target: Path, stop: threading.Event
    ) -> None:
        digest = descriptor.digest

        def source(client: Client) -> Source:
            def get(headers: dict[str, str]) -> requests.Response:
                import requests

                try:
                    return client.request("GET", client.url(f"blobs/{digest}"), headers=headers, stream=True)
                except RegistryError as problem:
                    if not client.place.mirror:
                        raise
                    self.pass_over(client, problem)
                    raise requests.exceptions.InvalidURL(problem.brief) from problem  # on to the next source

            return Source(shown=f"{client.reference.name}@{digest[:19]}", get=get)

        try:
            obtain(
                Wanted(name=label, sha256=digest.removeprefix("sha256:"), size=descriptor.size),
                sources=[source(client) for client in self.clients],
                into=into,
                target=target,
                advance=lambda done: self._report.advance(label, done, descriptor.size),
                stop=stop,
                pauses=self._access.pauses,
            )
        except FetchError as problem:
            raise RegistryError(
                f"could not pull the blob `{digest}` of `{self.reference.name}`",
                details=problem.details,
                hint=problem.hint or "try again: what has come is kept, and only the rest is asked for",
            ) from problem


def pull_documents(reference: Reference, *, platform: str, store: Store, access: Access, report: Report) -> Pulled:
    """Manifest and configuration of the image for `platform` (`linux/amd64`).

    Takes OCI and Docker (schema 2) images and indexes.  `RegistryError` if there is no such image, none for the
    platform, or a document is not what its digest says.
    """
    return _documents(Origin(reference, access=access, report=report), platform=platform, store=store)


def _documents(origin: Origin, *, platform: str, store: Store) -> Pulled:
    reference = origin.reference
    document = _document(origin, pointer=reference.pointer, store=store)
    while document.descriptor.media_type in (INDEX, DOCKER_INDEX):
        found = _platforms(document, reference=reference, wanted=platform)
        chosen = image_for(found, platform=platform)
        if chosen is None:
            raise RegistryError(
                f"`{reference}` has no image for the platform `{platform}`",
                details=f"platforms: {', '.join(found)}",
                hint="choose one of these with `--platform`, or name another image",
            )
        document = _document(origin, pointer=chosen.digest, store=store)
    try:
        manifest = json.loads(document.data)
        config_descriptor = Descriptor.from_json(manifest["config"])
        origin.blob(config_descriptor, store=store, stop=threading.Event())
        config = json.loads(store.read_blob(config_descriptor.digest))
        layers = layers_of(manifest, config=config)
        actual = f"{config['os']}/{config['architecture']}"
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RegistryError(
            f"`{reference}` is not an image that can be used: {problem!r}",
            details=f"its media type is {document.descriptor.media_type}",
            hint="it is another kind of artifact, or was made by another tool in a way that is not known here",
        ) from problem
    if actual != "/".join(platform.split("/")[:2]):
        raise RegistryError(
            f"`{reference}` is an image for `{actual}`, not for `{platform}`",
            hint=f"ask for it with `--platform {actual}`, or name another image",
        )
    known.note(store, repository=reference, digests=[layer.digest for layer in layers])
    return Pulled(reference=reference, descriptor=document.descriptor, manifest=manifest, config=config, layers=layers)


def pull_layers(
    reference: Reference, *, layers: Sequence[PackedLayer], store: Store, access: Access, report: Report
) -> None:
    """Bring those of the layers that the store lacks, several at a time."""
    _layers(layers, origin=Origin(reference, access=access, report=report), store=store)


def _layers(layers: Sequence[PackedLayer], *, origin: Origin, store: Store) -> None:
    unique = {layer.digest: layer.descriptor for layer in layers if not store.has_blob(layer.digest)}
    stop = threading.Event()
    in_parallel(
        lambda descriptor: origin.blob(descriptor, store=store, stop=stop),
        list(unique.values()),
        parallel=PARALLEL,
        stop=stop,
    )


def pull_image(
    reference: Reference, *, name: str, platform: str, store: Store, access: Access, report: Report
) -> Pulled:
    """A whole image, named `name` in the store."""
    origin = Origin(reference, access=access, report=report)
    pulled = _documents(origin, platform=platform, store=store)
    _layers(pulled.layers, origin=origin, store=store)
    store.set_image(name, pulled.descriptor)
    return pulled


def get_manifest(client: Client, *, pointer: str) -> Document:
    """The manifest or index that a tag or digest stands for, with its exact bytes."""
    what = f"`{client.reference.name}:{pointer}`"
    if pointer.startswith("sha256:"):
        what = f"`{client.reference.name}@{pointer}`"
    for _ in range(_READINGS):
        response = client.get(f"manifests/{pointer}", headers={"Accept": _ACCEPT}, what=what)
        data = response.content
        digest = digest_of(data)
        claimed = pointer if pointer.startswith("sha256:") else response.headers.get("Docker-Content-Digest", digest)
        if claimed == digest or not claimed.startswith("sha256:"):
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            media_type = _declared_type(data) or media_type
            return Document(descriptor=Descriptor(media_type=media_type, digest=digest, size=len(data)), data=data)
    raise RegistryError(
        f"`{client.registry}` sent another manifest for {what}",
        details=f"expected {claimed}\ngot      {digest}",
        hint="something on the way changes what is sent, or the registry's storage is damaged",
    )


def _document(origin: Origin, *, pointer: str, store: Store) -> Document:
    # What is asked for by digest and is here needs no network.
    if pointer.startswith("sha256:") and store.has_blob(pointer):
        data = store.read_blob(pointer)
        media_type = _declared_type(data)
        if media_type:
            return Document(descriptor=Descriptor(media_type=media_type, digest=pointer, size=len(data)), data=data)
    document = origin.manifest(pointer)
    store.put(document.data)
    return document


def _declared_type(data: bytes) -> str:
    # The document's own word, where it gives one, is covered by the digest; the header is not.
    try:
        return str(json.loads(data).get("mediaType") or "")
    except (ValueError, AttributeError):
        return ""


def _platforms(document: Document, *, reference: Reference, wanted: str) -> dict[str, Descriptor]:
    try:
        index = json.loads(document.data)
        found = platforms(index)
        silent = [entry for entry in index["manifests"] if not entry.get("platform")]
        if not found and len(silent) == 1:  # some tools write none; the configuration will say which it is
            found = {wanted: Descriptor.from_json(silent[0])}
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RegistryError(
            f"the index `{reference}` is damaged: {problem!r}", hint="push it again, or name another image"
        ) from problem
    else:
        return found
