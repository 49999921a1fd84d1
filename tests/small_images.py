"""Small real images, made with nothing but the standard library."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

from builder import oci
from builder.oci import PackedLayer
from builder.store import Store, StoredImage

PLATFORM = "linux/amd64"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(files: dict[str, bytes | None], *, links: dict[str, str] | None = None) -> bytes:
    """A layer's tar: content by path, None for a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.size, member.mode = len(data), 0o755
                archive.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return buffer.getvalue()


def members(data: bytes, *, size: int = 700) -> bytes:
    """Gzip in many members, as our layers are."""
    return b"".join(gzip.compress(data[at : at + size], mtime=0) for at in range(0, len(data), size))


def add_layer(store: Store, tar: bytes, *, compression: str = "gzip") -> PackedLayer:
    if compression == "zstd":
        import zstandard

        blob = zstandard.compress(tar)
    else:
        blob = members(tar) if compression == "gzip" else tar
    store.put(blob)
    media_type = oci.LAYER_MEDIA_TYPES[compression]  # type: ignore[index]
    return PackedLayer(digest=digest_of(blob), diff_id=digest_of(tar), size=len(blob), media_type=media_type)


def add_image(
    store: Store,
    name: str,
    layers: list[PackedLayer],
    *,
    env: tuple[tuple[str, str], ...] = (("PATH", "/usr/bin:/bin"),),
    platform: str = PLATFORM,
) -> StoredImage:
    config = oci.image_config(
        oci.ImageConfig(
            env=env,
            entrypoint=(),
            cmd=("/bin/sh",),
            working_dir="/",
            exposed_ports=("5000/tcp",),
            labels=(("made.by", "a test"),),
        ),
        platform=platform,
        epoch=1735689600,
        layers=layers,
        comments=["layer"] * len(layers),
    )
    manifest = oci.image_manifest(config.descriptor, layers=layers, annotations=[("org.example", "yes")])
    store.put(config.data)
    store.put(manifest.data)
    store.set_image(name, manifest.descriptor)
    image = store.image(name)
    assert image is not None
    return image


def two_layers(store: Store) -> list[PackedLayer]:
    lower = tar_of({"etc": None, "etc/hostname": b"box\n", "usr": None, "usr/big": bytes(range(256)) * 40})
    upper = tar_of({"src": None, "src/predict.py": b"print('hello')\n"})
    return [add_layer(store, lower), add_layer(store, upper, compression="plain")]
