"""A build whose inputs are those of an earlier one is that one: no lock is parsed, no plan compiled.

The fingerprint covers everything that a plan is made from; the result counts only while all its layers are here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

from builder.cli.settings import Settings
from builder.config import Config
from builder.oci import Descriptor, PackedLayer
from builder.plan import Compression, Entry, Network, canonical_json, to_plain
from builder.store import Store, StoredImage

_KIND = "built"


def fingerprint(
    *,
    config: Config,
    project_hash: str,
    lock_text: str,
    source: tuple[Entry, ...],
    runtime: tuple[Entry, ...],
    settings: Settings,
    platform: str,
    compression: Compression,
    version: str,
    schema: str = "",
    network: Network = "host",
    bytecode: bool = True,
) -> str:
    """sha256 over all that decides the image: configuration, lock, files, epoch, platform, compression, release.

    `project_hash` is what a lock answers to: the requirements may be no file of the image (`.dockerignore`).  `schema`
    is the text of one that is not made from the source, `network` what commands see of it.
    """
    known = dataclasses.replace(config, warnings=())
    parts = [
        version,
        platform,
        compression,
        settings.epoch,
        project_hash,
        schema,
        bytecode,
        network if config.commands or config.pre_install else "",
        hashlib.sha256(lock_text.encode()).hexdigest(),
        to_plain(known),
        to_plain(source),
        to_plain(runtime),
    ]
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def remember(key: str, *, image: StoredImage, made: list[PackedLayer], store: Store) -> None:
    """Remember what was built, and which layers of it must be here for it to count."""
    config = image.manifest["config"]
    blobs = [(layer.digest, layer.size) for layer in made] + [(config["digest"], config["size"])]
    value = {"manifest": image.descriptor.to_json(), "blobs": blobs}
    store.remember(_KIND, key, json.dumps(value))


def recall(key: str, *, name: str, store: Store) -> StoredImage | None:
    """The image built from the same inputs, named `name`; none if there is none or anything of it is gone."""
    memo = store.memo(_KIND, key)
    if memo is None:
        return None
    value = json.loads(memo)
    for digest, size in value["blobs"]:
        path = store.blob_path(digest)
        if not path.is_file() or path.stat().st_size != size:
            return None
    descriptor = Descriptor.from_json(value["manifest"])
    if not store.has_blob(descriptor.digest):
        return None
    store.set_image(name, descriptor)
    return store.image(name)
