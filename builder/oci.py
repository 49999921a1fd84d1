"""OCI image-spec 1.1 documents as plain data: descriptor, manifest, configuration.  Stdlib only; no I/O."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from builder.frozen import frozen
from builder.plan import Compression, ImageConfig, canonical_json

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_MEDIA_TYPES: dict[Compression, str] = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "plain": "application/vnd.oci.image.layer.v1.tar",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
REF_NAME = "org.opencontainers.image.ref.name"


@frozen
class Descriptor:
    """A blob by digest (`sha256:...`), with its size in bytes and media type."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """The descriptor as the image-spec writes it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Descriptor:
        """Read a descriptor; unknown members are dropped."""
        return cls(media_type=str(data["mediaType"]), digest=str(data["digest"]), size=int(data["size"]))


@frozen
class PackedLayer:
    """A layer that exists as bytes: `digest` is of the blob, `diff_id` of the tar inside it; sizes in bytes."""

    digest: str
    diff_id: str
    size: int
    media_type: str

    @property
    def descriptor(self) -> Descriptor:
        """The manifest's view of the layer."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)


@frozen
class Document:
    """A JSON blob: its descriptor and its exact bytes."""

    descriptor: Descriptor
    data: bytes


def document(data: Any, *, media_type: str) -> Document:
    """Serialise `data` canonically (sorted keys, no spaces)."""
    raw = canonical_json(data)
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    return Document(descriptor=Descriptor(media_type=media_type, digest=digest, size=len(raw)), data=raw)


def image_index(parts: Sequence[tuple[Descriptor, str]]) -> Document:
    """An index of images in this order, each with its platform (`linux/arm64`)."""
    entries = []
    for descriptor, platform in parts:
        os_name, _, architecture = platform.partition("/")
        entries.append({**descriptor.to_json(), "platform": {"architecture": architecture, "os": os_name}})
    return document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, media_type=INDEX)


def platforms(index: dict[str, Any]) -> dict[str, Descriptor]:
    """The images of an index by `os/architecture[/variant]`, the first of each; attestations are left out.

    The variant of arm64, which is always v8, and the first of amd64 are left out as well.
    """
    found: dict[str, Descriptor] = {}
    for entry in index["manifests"]:
        platform = entry.get("platform") or {}
        words = [str(platform.get("os", "unknown")), str(platform.get("architecture", "unknown"))]
        variant = str(platform.get("variant") or "")
        if variant and words[1] != "arm64" and (words[1], variant) != ("amd64", "v1"):
            words.append(variant)
        if words[0] != "unknown":
            found.setdefault("/".join(words), Descriptor.from_json(entry))
    return found


def image_for(found: Mapping[str, Descriptor], *, platform: str) -> Descriptor | None:
    """The one of `platforms` for a platform, whether its usual variant is written out in either or not."""
    return {_without_usual(name): one for name, one in reversed(list(found.items()))}.get(_without_usual(platform))


def _without_usual(platform: str) -> str:
    # As containerd: what says nothing of its variant means this one.
    return re.sub(r"/(arm64/v8|amd64/v1|arm/v7)$", lambda match: f"/{match[1].partition('/')[0]}", platform)


def image_config(
    config: ImageConfig, *, platform: str, epoch: int, layers: Sequence[PackedLayer], comments: Sequence[str]
) -> Document:
    """The image configuration; `comments` holds one line of history for each layer."""
    os_name, _, architecture = platform.partition("/")
    architecture, _, variant = architecture.partition("/")
    created = dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    inner: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in config.env],
        "Cmd": list(config.cmd),
        "WorkingDir": config.working_dir,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Labels": dict(config.labels),
    }
    if config.user:
        inner["User"] = config.user
    if config.entrypoint:
        inner["Entrypoint"] = list(config.entrypoint)
    data: dict[str, Any] = {
        "created": created,
        "architecture": architecture,
        "os": os_name,
        "config": inner,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": comment} for comment in comments],
    }
    if variant:
        data["variant"] = variant
    return document(data, media_type=CONFIG)


def image_manifest(
    config: Descriptor, *, layers: Sequence[PackedLayer], annotations: Sequence[tuple[str, str]]
) -> Document:
    """The image manifest over `config` and `layers`, in order from the base up."""
    data: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [layer.descriptor.to_json() for layer in layers],
    }
    if annotations:
        data["annotations"] = dict(annotations)
    return document(data, media_type=MANIFEST)
