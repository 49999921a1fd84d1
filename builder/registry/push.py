"""An image of the store into a repository: its blobs side by side, then the manifest, whose digest must come back.

Layers that are not in the store go from registry to registry by stream; they never touch this disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from builder.errors import ConfigError, RegistryError
from builder.frozen import frozen
from builder.oci import Descriptor, Document, PackedLayer, image_index
from builder.reference import Reference, parse
from builder.registry import known
from builder.registry.client import Access, Client
from builder.registry.places import full
from builder.registry.pull import Origin
from builder.registry.sources import Bytes, File, Readable, Stream
from builder.registry.upload import Blob, Limits, Outcome, has_blob, upload
from builder.registry.workers import in_parallel
from builder.report import Report
from builder.store import Store, StoredImage
from builder.store.images import digest_of

if TYPE_CHECKING:
    import requests

PARALLEL = 5
LARGEST_LAYER = 8_000_000_000
"""Bytes of a layer that Azure's registry takes; Google's and GitHub's take 10 GiB, others less or more."""
MOST_LAYERS = 127
"""What overlayfs mounts: docker and podman run no image with more."""
BASE_NAME = "org.opencontainers.image.base.name"
_LOCAL = ("oci:", "oci-archive:", "docker-archive:")
"""Bases that are no repository begin so."""
_NOT_THIS_KIND = (400, 415, 422)
_MISSING = ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")

How: TypeAlias = Literal["present", "mounted", "sent", "copied"]


@frozen
class Moved:
    """What became of a blob: there already, mounted from another repository, sent from here, copied by stream."""

    digest: str
    size: int
    label: str
    how: How


@frozen
class Pushed:
    """An image that a registry has: `reference` with its registry written out, and what became of its blobs."""

    reference: Reference
    descriptor: Descriptor
    blobs: tuple[Moved, ...]


@frozen
class Manner:
    """How to push: blobs at once, how they are cut, and what brings a layer into the store that is nowhere known."""

    parallel: int = PARALLEL
    limits: Limits = dataclasses.field(default_factory=Limits)
    bring: Callable[[PackedLayer], None] | None = None


def push_image(
    image: StoredImage,
    *,
    to: Reference,
    store: Store,
    access: Access,
    report: Report,
    manner: Manner | None = None,
    tell: Callable[[Moved], None] | None = None,
) -> Pushed:
    """Push `image` to `to`; `tell`, if given, hears of each blob when it is there.

    Sends only what the repository lacks, and goes on where an earlier push was cut off.  `RegistryError` if the
    registry does not take it; what it took stays there for the next push.
    """
    client = Client(to, access=access, actions="pull,push")
    job = _Job(image, client=client, store=store, access=access, report=report, manner=manner or Manner())
    manifest = Document(descriptor=image.descriptor, data=store.read_blob(image.digest))
    moved: tuple[Moved, ...] = ()
    if not has_manifest(client, image.descriptor):
        for text in _doubts(image):
            report.warn(text)
        moved = job.blobs(tell)
    try:
        put_manifest(client, manifest, pointer=client.reference.pointer_to(image.digest))
    except RegistryError as problem:
        if not any(code in (problem.details or "") for code in _MISSING):
            raise
        moved = job.blobs(tell)  # what it said to have is gone: once more
        put_manifest(client, manifest, pointer=client.reference.pointer_to(image.digest))
    reference = full(to, env=access.env)
    known.note(store, repository=reference, digests=[layer.digest for layer in image.layers])
    return Pushed(reference=reference, descriptor=image.descriptor, blobs=moved)


def _doubts(image: StoredImage) -> Iterator[str]:
    """What may keep registries from taking the image, or others from running it."""
    for layer, title in zip(image.layers, _titles(image), strict=True):
        if layer.size > LARGEST_LAYER:
            yield (
                f"the layer {layer.digest[7:19]} ({title}) has {layer.size / 1e9:.1f} GB: many registries take no more"
                " than 8 to 10 GB; one file cannot be parted, several can be in several layers"
            )
    if len(image.layers) > MOST_LAYERS:
        yield f"the image has {len(image.layers)} layers: docker and podman run no more than {MOST_LAYERS}"


def push_index(images: Sequence[StoredImage], *, to: Reference, access: Access) -> Descriptor:
    """Put an index of images that are in the repository under the tag of `to`; its descriptor."""
    index = image_index([(image.descriptor, image.platform) for image in images])
    client = Client(to, access=access, actions="pull,push")
    put_manifest(client, index, pointer=client.reference.pointer_to(index.descriptor.digest))
    return index.descriptor


def has_manifest(client: Client, descriptor: Descriptor) -> bool:
    """Whether the repository has the manifest; it then has all that the manifest names."""
    what = f"the manifest `{descriptor.digest[:19]}`"
    # Registries know no `*/*`: what is not named is not there.
    return client.has(f"manifests/{descriptor.digest}", what=what, headers={"Accept": descriptor.media_type})


def put_manifest(client: Client, document: Document, *, pointer: str) -> requests.Response:
    """Put a manifest or index under a tag or its digest; `RegistryError` unless the registry has that very digest."""
    what = f"`{client.reference.name}{'@' if pointer.startswith('sha256:') else ':'}{pointer}`"
    url, digest = client.url(f"manifests/{pointer}"), document.descriptor.digest
    headers = {"Content-Type": document.descriptor.media_type}
    response = client.steadily("PUT", url, what=what, do="push", headers=headers, body=document.data)
    if response.status_code not in (200, 201, 202):
        problem = client.refused(response, what=what, do="push")
        if problem.status in _NOT_THIS_KIND and b"+zstd" in document.data:
            problem.hint = "it may take no layers in zstd: build with `--layer-format gzip`"
        raise problem
    said = response.headers.get("Docker-Content-Digest", "")
    if not said:
        said = digest_of(
            client.get(f"manifests/{pointer}", headers={"Accept": document.descriptor.media_type}, what=what).content
        )
    if said != digest:
        raise RegistryError(
            f"`{client.registry}` stored another manifest than the one pushed as {what}",
            details=f"pushed {digest}\nstored {said}",
            hint="the registry rewrites manifests, or another push came between: push again",
        )
    return response


def have(client: Client, digests: Sequence[str], *, parallel: int = PARALLEL) -> set[str]:
    """Those of the blobs that the repository has."""
    found: set[str] = set()

    def look(digest: str) -> None:
        if has_blob(client, digest=digest):
            found.add(digest)

    in_parallel(look, sorted(set(digests)), parallel=parallel, stop=client.access.stop)
    return found


class _Job:
    """The blobs of one image on their way into one repository."""

    def __init__(
        self, image: StoredImage, *, client: Client, store: Store, access: Access, report: Report, manner: Manner
    ) -> None:
        self._image = image
        self._client = client
        self._store = store
        self._access = access
        self._report = report
        self._manner = manner
        self._memory = known.Uploads(store, repository=client.reference.name)
        self._base = _base_of(image, access=access)

    def blobs(self, tell: Callable[[Moved], None] | None) -> tuple[Moved, ...]:
        """See that the repository has all; the largest are begun first."""
        image, done = self._image, dict[str, Moved]()
        config = Descriptor.from_json(image.manifest["config"])
        labels = [
            f"{layer.digest[7:19]} {title}".rstrip() for layer, title in zip(image.layers, _titles(image), strict=True)
        ]
        wanted: dict[str, Callable[[], Moved]] = {}
        sizes = {config.digest: config.size}
        for layer, label in zip(image.layers, labels, strict=True):
            wanted[layer.digest] = lambda layer=layer, label=label: self._layer(layer, label=label)  # type: ignore[misc]
            sizes[layer.digest] = layer.size
        wanted[config.digest] = lambda: self._config(config)

        def work(digest: str) -> None:
            done[digest] = wanted[digest]()
            if tell is not None:
                tell(done[digest])

        order = sorted(wanted, key=lambda digest: -sizes[digest])
        in_parallel(work, order, parallel=self._manner.parallel, stop=self._access.stop)
        return tuple(done[digest] for digest in wanted)

    def _layer(self, layer: PackedLayer, *, label: str) -> Moved:
        here = self._store.has_blob(layer.digest)
        origins = [] if here else self._origins(layer)
        how = self._send(layer.descriptor, label=label, reader=self._reader(layer, origins=origins))
        copied = how == "sent" and bool(origins)
        return Moved(digest=layer.digest, size=layer.size, label=label, how="copied" if copied else how)

    def _config(self, config: Descriptor) -> Moved:
        data = self._store.read_blob(config.digest)
        label = f"{config.digest[7:19]} configuration"
        how = self._send(config, label=label, reader=Bytes(data).part)
        return Moved(digest=config.digest, size=config.size, label=label, how=how)

    def _send(self, descriptor: Descriptor, *, label: str, reader: Callable[[int, int], Readable]) -> Outcome:
        return upload(
            Blob(digest=descriptor.digest, size=descriptor.size, label=label, open=reader),
            client=self._client,
            memory=self._memory,
            limits=self._manner.limits,
            mount=self._mount(descriptor.digest),
            advance=lambda done: self._report.advance(label, done, descriptor.size),
        )

    def _mount(self, digest: str) -> str | None:
        """A repository of the same registry that may have the blob."""
        target = self._client.reference
        found = known.mount_from(self._store, registry=target.registry, digest=digest)
        if found is None and self._base is not None and self._base.registry == target.registry:
            base = {str(layer.digest) for layer in self._image.layers if not self._store.has_blob(layer.digest)}
            found = self._base.repository if digest in base else None
        return None if found == target.repository else found

    def _origins(self, layer: PackedLayer) -> list[Origin]:
        """The repositories that an absent layer may be copied from: where it was seen last, and the base's."""
        target = self._client.reference.name
        places = (known.repository_of(self._store, digest=layer.digest), self._base)
        found = {place.name: place for place in places if place is not None and place.name != target}
        origins, problem = list[Origin](), None
        for place in found.values():
            try:
                origins.append(Origin(place, access=self._access, report=self._report))
            except RegistryError as blocked:
                problem = blocked
        if problem is not None and not origins:
            raise problem
        return origins

    def _reader(self, layer: PackedLayer, *, origins: Sequence[Origin]) -> Callable[[int, int], Readable]:
        def read(start: int, count: int) -> Readable:
            if origins:
                return Stream(*origins, descriptor=layer.descriptor, start=start, count=count)
            if not self._store.has_blob(layer.digest) and self._manner.bring is not None:
                self._manner.bring(layer)
            return File(self._store.blob_path(layer.digest), start=start)

        return read


def _base_of(image: StoredImage, *, access: Access) -> Reference | None:
    name: Any = (image.manifest.get("annotations") or {}).get(BASE_NAME)
    if not name or str(name).startswith(_LOCAL):
        return None
    with contextlib.suppress(ConfigError, RegistryError):
        return full(parse(str(name)), env=access.env)
    return None


def _titles(image: StoredImage) -> Iterator[str]:
    """What the history says of each layer, for messages."""
    lines = [
        str(entry.get("created_by", "")) for entry in image.config.get("history") or () if not entry.get("empty_layer")
    ]
    lines += [""] * (len(image.layers) - len(lines))
    return iter(line[:60] for line in lines[: len(image.layers)])
