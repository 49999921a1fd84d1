"""What refers to an image (SBOM, provenance, signatures): the referrers API, and the fallback tag where there is none.

Distribution spec 1.1, "Listing Referrers" and "Pushing Manifests with Subject".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from builder.errors import RegistryError
from builder.frozen import frozen
from builder.oci import INDEX, MANIFEST, Descriptor, Document, document
from builder.reference import Reference
from builder.registry.client import Access, Client
from builder.registry.push import put_manifest
from builder.registry.sources import Bytes
from builder.registry.upload import Blob, Limits, upload
from builder.store.images import digest_of

if TYPE_CHECKING:
    import requests

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_RACES = 5
"""Another writer of the fallback tag may come between: read, write and read again at most so often."""


@frozen
class Referrer:
    """A manifest that refers to another."""

    descriptor: Descriptor
    artifact_type: str
    annotations: Mapping[str, str]


def referrers(subject: Reference, *, access: Access, artifact_type: str | None = None) -> list[Referrer]:
    """What refers to the manifest that `subject` names by digest; of one kind, if `artifact_type` says so."""
    client = Client(subject, access=access)
    index = _from_api(client, digest=subject.digest)
    if index is None:
        index, _ = _from_tag(client, digest=subject.digest)
    found = [_referrer(entry) for entry in index.get("manifests") or ()]
    # The fallback's entries may lack the type, and registries may ignore a filter: so it is done here.
    return [one for one in found if artifact_type in (None, one.artifact_type)]


def attach(
    subject: Reference,
    *,
    to: Descriptor,
    artifact_type: str,
    blobs: Sequence[tuple[str, bytes]],
    annotations: Mapping[str, str],
    access: Access,
) -> Descriptor:
    """Push a manifest that refers to `to`, which is in the repository of `subject`; its descriptor.

    `blobs` are (media type, content).  Where the registry does not keep referrers, the fallback tag is updated.
    """
    client = Client(subject, access=access, actions="pull,push")
    layers = []
    for media_type, content in [(EMPTY_TYPE, EMPTY), *blobs]:
        digest, size = digest_of(content), len(content)
        layers.append(Descriptor(media_type=media_type, digest=digest, size=size))
        blob = Blob(digest=digest, size=size, label=f"{digest[7:19]} {media_type}", open=Bytes(content).part)
        upload(blob, client=client, memory=_NoMemory(), limits=Limits(), mount=None, advance=lambda _: None)
    data: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": layers[0].to_json(),
        "layers": [layer.to_json() for layer in layers[1:]] or [layers[0].to_json()],
        "subject": to.to_json(),
    }
    if annotations:
        data["annotations"] = dict(annotations)
    manifest = document(data, media_type=MANIFEST)
    response = put_manifest(client, manifest, pointer=manifest.descriptor.digest)
    if response.headers.get("OCI-Subject") != to.digest:
        entry = {**manifest.descriptor.to_json(), "artifactType": artifact_type}
        if annotations:
            entry["annotations"] = dict(annotations)
        _add_to_tag(client, digest=to.digest, entry=entry)
    return manifest.descriptor


def fallback_tag(digest: str) -> str:
    """The tag under which referrers of a digest are listed where there is no API."""
    return digest.replace(":", "-", 1)[:128]


def _from_api(client: Client, *, digest: str) -> dict[str, Any] | None:
    """All pages of the API's answer as one index; none where there is no such API."""
    entries: list[Any] = []
    url, what = client.url(f"referrers/{digest}"), f"what refers to `{digest[:19]}`"
    while url:
        response = client.steadily("GET", url, what=what, headers={"Accept": INDEX})
        if response.status_code in (400, 404, 405, 501):
            return None
        if response.status_code != 200:
            raise client.refused(response, what=what)
        index = _index_in(response, what=what)
        if index is None:
            return None
        entries += index.get("manifests") or ()
        url = client.next_page(response)
    return {"manifests": entries}


def _index_in(response: requests.Response, *, what: str) -> dict[str, Any] | None:
    """An index by its header, which the spec demands, or by its own word; some front ends answer all with a page."""
    is_called_one = response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == INDEX
    try:
        index = _read(response.content, what=what)
    except RegistryError:
        if is_called_one:
            raise
        return None
    return index if is_called_one or index.get("mediaType") == INDEX else None


def _from_tag(client: Client, *, digest: str) -> tuple[dict[str, Any], str]:
    """The index under the fallback tag, and its digest; an empty one if there is none."""
    what = f"what refers to `{digest[:19]}`"
    response = client.steadily(
        "GET", client.url(f"manifests/{fallback_tag(digest)}"), what=what, headers={"Accept": INDEX}
    )
    if response.status_code == 404:
        return {"manifests": []}, ""
    if response.status_code != 200:
        raise client.refused(response, what=what)
    return _read(response.content, what=what), digest_of(response.content)


def _add_to_tag(client: Client, *, digest: str, entry: dict[str, Any]) -> None:
    for _ in range(_RACES):
        index, _ = _from_tag(client, digest=digest)
        entries = [one for one in index.get("manifests") or () if one.get("digest") != entry["digest"]]
        if len(entries) < len(index.get("manifests") or ()):
            return
        updated = _index([*entries, entry])
        put_manifest(client, updated, pointer=fallback_tag(digest))
        now, _ = _from_tag(client, digest=digest)
        if any(one.get("digest") == entry["digest"] for one in now.get("manifests") or ()):
            return
    raise RegistryError(
        f"others keep changing the referrers of `{digest[:19]}`", hint="try again when fewer jobs push there"
    )


def _index(entries: Sequence[dict[str, Any]]) -> Document:
    return document({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}, media_type=INDEX)


def _read(data: bytes, *, what: str) -> dict[str, Any]:
    try:
        index = json.loads(data)
        if not isinstance(index, dict) or not isinstance(index.get("manifests") or [], list):
            raise ValueError("it is no index")
    except ValueError as problem:
        raise RegistryError(f"could not read {what}: {problem}", hint="is that address a registry's?") from problem
    return index


def _referrer(entry: Mapping[str, Any]) -> Referrer:
    try:
        return Referrer(
            descriptor=Descriptor.from_json(dict(entry)),
            artifact_type=str(entry.get("artifactType") or ""),
            annotations=dict(entry.get("annotations") or {}),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise RegistryError(
            f"the registry's list of referrers is damaged: {problem!r}", hint="attach what refers there again"
        ) from problem


class _NoMemory:
    """Small documents are sent in one piece: there is nothing to resume."""

    def get(self, digest: str) -> str:  # noqa: ARG002
        return ""

    def set(self, digest: str, location: str) -> None:
        pass
