"""The images of the store by name: its `index.json`, read and written as the OCI image layout wants it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from builder.errors import ConfigError, StoreError
from builder.frozen import frozen
from builder.oci import DOCKER_INDEX, INDEX, REF_NAME, Descriptor, PackedLayer
from builder.plan import canonical_json
from builder.reference import parse
from builder.store.disk import explained

LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


@frozen
class StoredImage:
    """An image of the store.  The blobs of layers of a foreign base may be absent; `Store.has_blob` tells."""

    name: str
    descriptor: Descriptor
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: tuple[PackedLayer, ...]

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return self.descriptor.digest

    @property
    def platform(self) -> str:
        """`linux/amd64`, as its configuration says."""
        return f"{self.config.get('os', '')}/{self.config.get('architecture', '')}"

    @property
    def size(self) -> int:
        """Bytes of manifest, configuration and layers."""
        return self.descriptor.size + int(self.manifest["config"]["size"]) + sum(layer.size for layer in self.layers)


def read_index(root: Path) -> list[dict[str, Any]]:
    """The descriptors in `index.json`; none if there is no such file."""
    path = root / "index.json"
    try:
        entries = json.loads(path.read_bytes())["manifests"]
        return [dict(entry) for entry in entries]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreError(
            f"`{path}` is damaged: {problem!r}", hint="remove it; names of images are lost, their layers are not"
        ) from problem
    except OSError as problem:
        raise explained(problem, doing=f"read `{path}`") from problem


def index_bytes(entries: list[dict[str, Any]]) -> bytes:
    """The content of `index.json`, entries in order of their names."""
    ordered = sorted(entries, key=lambda entry: (name_of(entry), str(entry.get("digest"))))
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": ordered})


def name_of(entry: dict[str, Any]) -> str:
    """The name that an entry carries; empty if none."""
    return str((entry.get("annotations") or {}).get(REF_NAME, ""))


def named(entries: list[dict[str, Any]], *, name: str, descriptor: Descriptor) -> list[dict[str, Any]]:
    """The entries with `name` standing for `descriptor`."""
    entry = {**descriptor.to_json(), "annotations": {REF_NAME: name}}
    return [*(other for other in entries if name_of(other) != name), entry]


def find(entries: list[dict[str, Any]], reference: str) -> dict[str, Any] | None:
    """The entry for `name[:tag]`, a digest, or a digest's unique beginning (4 digits or more)."""
    try:
        wanted = parse(reference)
    except ConfigError:
        if not _PREFIX.fullmatch(reference):
            raise
    else:
        for entry in entries:
            if wanted.digest:
                hit = name_of(entry).startswith(wanted.name + ":") and entry.get("digest") == wanted.digest
            else:
                hit = name_of(entry) in (reference, wanted.tagged)
            if hit:
                return entry
    match = _PREFIX.fullmatch(reference)
    if match is None:
        return None
    found = {str(e["digest"]): e for e in entries if str(e.get("digest", "")).startswith(f"sha256:{match[1]}")}
    if len(found) > 1:
        raise StoreError(
            f"`{reference}` is the beginning of {len(found)} digests",
            details="\n".join(sorted(found)),
            hint="give more of its digits",
        )
    return next(iter(found.values()), None)


def without(entries: list[dict[str, Any]], *, reference: str) -> list[dict[str, Any]]:
    """The entries without the one called `reference`, or, if that is a digest, without all names of that image."""
    found = find(entries, reference)
    if found is None:
        return entries
    with contextlib.suppress(ConfigError):
        if name_of(found) in (reference, parse(reference).tagged):
            return [entry for entry in entries if entry is not found]
    return [entry for entry in entries if entry.get("digest") != found.get("digest")]


def parts(entry: dict[str, Any], *, read: Callable[[str], bytes]) -> list[dict[str, Any]]:
    """The images that an entry stands for: itself, or those of the index that it is, by the entry's name."""
    if entry.get("mediaType") not in (INDEX, DOCKER_INDEX):
        return [entry]
    name = name_of(entry)
    try:
        found = json.loads(read(str(entry["digest"])))["manifests"]
        images = [one for one in found if (one.get("platform") or {}).get("os") != "unknown"]  # attestations are none
        return [{**dict(one), "annotations": {REF_NAME: name}} for one in images]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise StoreError(f"the index `{name or entry.get('digest')}` is damaged: {problem!r}") from problem


def for_platform(entries: list[dict[str, Any]], *, platform: str) -> dict[str, Any]:
    """Of the images of an index that for a platform, the first if none is asked for; one alone is for any."""
    if not entries:
        raise StoreError("an index without images is no image", hint="remove it: `cogsmith image rm NAME`")
    known = [_platform(entry) for entry in entries]
    if len(entries) == 1 or not platform:
        return entries[0]
    if platform not in known:
        raise StoreError(
            f"`{name_of(entries[0])}` has no image for {platform}",
            details=f"it has images for {', '.join(known)}",
            hint=f"build it with `--platform {','.join([*known, platform])}`",
        )
    return entries[known.index(platform)]


def _platform(entry: dict[str, Any]) -> str:
    said = entry.get("platform") or {}
    return f"{said.get('os', '')}/{said.get('architecture', '')}"


def load(entry: dict[str, Any], *, read: Callable[[str], bytes]) -> StoredImage:
    """The image an entry stands for; `read` gives a blob's bytes.  `StoreError` if it is damaged or an index."""
    name = name_of(entry)
    try:
        descriptor = Descriptor.from_json(entry)
        if descriptor.media_type in (INDEX, DOCKER_INDEX):
            raise StoreError(
                f"`{name or descriptor.digest}` is an index of several images, not an image",
                hint="pull the image of one platform: `cogsmith pull --platform OS/ARCH NAME`",
            )
        manifest = json.loads(read(descriptor.digest))
        config = json.loads(read(manifest["config"]["digest"]))
        return StoredImage(
            name=name,
            descriptor=descriptor,
            manifest=manifest,
            config=config,
            layers=layers_of(manifest, config=config),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise StoreError(
            f"the image `{name or entry.get('digest')}` is damaged: {problem!r}",
            hint="remove it with `cogsmith image rm`, and build or pull it again",
        ) from problem


def layers_of(manifest: dict[str, Any], *, config: dict[str, Any]) -> tuple[PackedLayer, ...]:
    """A manifest's layers with the diff ids of its configuration; `ValueError` if their numbers differ."""
    diff_ids = config["rootfs"]["diff_ids"]
    return tuple(
        PackedLayer(
            digest=str(layer["digest"]),
            diff_id=str(diff_id),
            size=int(layer["size"]),
            media_type=str(layer["mediaType"]),
        )
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)
    )


def needed(entries: list[dict[str, Any]], *, read: Callable[[str], bytes]) -> Iterator[tuple[str, bool]]:
    """Digests of all blobs that the entries need, and whether each is a document (not a layer)."""
    for entry in entries:
        digest = str(entry.get("digest", ""))
        yield digest, True
        try:
            document = json.loads(read(digest))
            yield from needed(document.get("manifests") or [], read=read)
            if "config" in document:
                yield str(document["config"]["digest"]), True
            for layer in document.get("layers") or []:
                yield str(layer["digest"]), False
        except (StoreError, ValueError, KeyError, TypeError, AttributeError):
            continue  # what a damaged image needs cannot be known


def digest_of(data: bytes) -> str:
    """`sha256:...` of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
