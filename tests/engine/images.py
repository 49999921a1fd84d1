"""Layers and images made on the spot."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from builder.oci import CONFIG, MANIFEST, Descriptor, PackedLayer, document
from builder.sandbox import Mount
from builder.store import Store, StoredImage

HOST = (Mount(target="/usr", source=Path("/usr"), readonly=True),)
"""The programs of this machine: the images here bring none of their own."""


def member(name: str, content: bytes | None = None, **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A tar member: a file if it has content, else a directory, unless `type` says otherwise."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
    info.mode = 0o644 if content is not None else 0o755
    info.size = len(content or b"")
    info.mtime = 1_700_000_000
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content or b""


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def many_members(data: bytes) -> bytes:
    """gzip in members of 1000 bytes, some stored, with zeros after the last."""
    pieces = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    return b"".join(gzip.compress(piece, number % 2 * 6) for number, piece in enumerate(pieces)) + bytes(500)


def put_layer(store: Store, data: bytes, *, compress: Callable[[bytes], bytes] = gzip.compress) -> PackedLayer:
    blob = compress(data)
    diff_id = "sha256:" + hashlib.sha256(data).hexdigest()
    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    return PackedLayer(digest=store.put(blob), diff_id=diff_id, size=len(blob), media_type=media_type)


def system_layer() -> bytes:
    """The links of a merged /usr, as far as this machine has them."""
    names = [name for name in ("bin", "lib", "lib64", "sbin") if Path("/", name).is_symlink()]
    return tar([symlink(name, f"usr/{name}") for name in names])


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An image's configuration and the layers above the system's."""

    layers: tuple[bytes, ...] = ()
    config: dict[str, Any] = dataclasses.field(default_factory=dict)

    def image(self, store: Store) -> StoredImage:
        layers = tuple(put_layer(store, data) for data in (system_layer(), *self.layers))
        config = {"architecture": "amd64", "os": "linux", "config": self.config}
        made = document(config, media_type=CONFIG)
        store.put(made.data)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": made.descriptor.to_json(),
            "layers": [layer.descriptor.to_json() for layer in layers],
        }
        descriptor = Descriptor(media_type=MANIFEST, digest="sha256:" + "0" * 64, size=0)
        return StoredImage(name="test:latest", descriptor=descriptor, manifest=manifest, config=config, layers=layers)
