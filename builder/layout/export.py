"""An image of the store as an OCI layout folder, an OCI archive or a Docker archive.

Archives depend on the image and its name only: fixed order, owners and times.  A Docker archive is an OCI archive with
a `manifest.json`, as Docker itself writes since version 25, so that the digest survives where the reader can keep it.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from builder.errors import StoreError
from builder.oci import REF_NAME, PackedLayer
from builder.plan import canonical_json
from builder.reference import normalised, parse
from builder.report import Report
from builder.store import Store, StoredImage
from builder.store.disk import explaining
from builder.store.images import LAYOUT, index_bytes, named, read_index

Form: TypeAlias = Literal["oci-dir", "oci-archive", "docker-archive"]
FORMS: tuple[Form, ...] = ("oci-dir", "oci-archive", "docker-archive")

CONTAINERD_NAME = "io.containerd.image.name"
_CHUNK = 1 << 20


def export_image(
    store: Store,
    *,
    image: StoredImage,
    path: Path,
    form: Form,
    report: Report,
    fetch_layer: Callable[[PackedLayer], None] | None = None,
) -> None:
    """Write `image` to `path`; every blob is verified on the way.

    An archive replaces the file `path`; `oci-dir` makes the folder or adds to the OCI layout that is there.
    `fetch_layer` brings a layer into the store that is not in it (a base that nothing had to run yet).
    """
    for layer in image.layers:
        if not store.has_blob(layer.digest):
            if fetch_layer is None:
                raise StoreError(
                    f"the layer `{layer.digest}` of `{image.name}` is not in the store", hint="build the image again"
                )
            fetch_layer(layer)
    label = f"writing {path.name}"
    total = sum(size for _, size in _blobs(image))
    progress = _Progress(report, label=label, total=total)
    with explaining(f"write `{path}`"):
        if form == "oci-dir":
            _write_folder(store, image=image, path=path, progress=progress)
        else:
            _write_archive(store, image=image, path=path, docker=form == "docker-archive", progress=progress)


class _Progress:
    def __init__(self, report: Report, *, label: str, total: int) -> None:
        self._report = report
        self._label = label
        self._total = total
        self._done = 0

    def add(self, size: int) -> None:
        self._done += size
        self._report.advance(self._label, self._done, self._total)

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self.add(len(chunk))


def _blobs(image: StoredImage) -> list[tuple[str, int]]:
    sizes = {image.descriptor.digest: image.descriptor.size}
    sizes[str(image.manifest["config"]["digest"])] = int(image.manifest["config"]["size"])
    sizes.update({layer.digest: layer.size for layer in image.layers})
    return sorted(sizes.items())


def _write_folder(store: Store, *, image: StoredImage, path: Path, progress: _Progress) -> None:
    if path.exists() and not (path / "oci-layout").is_file() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"`{path}` exists and is not an OCI layout", hint="choose a new folder, or an empty one")
    folder = path / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    for digest, size in _blobs(image):
        target = folder / digest.removeprefix("sha256:")
        if _is_there(target, digest=digest, size=size):
            progress.add(size)
            continue
        with _appearing(target) as file:
            for chunk in progress.watch(_verified(store, digest=digest, size=size)):
                file.write(chunk)
    entries = named(read_index(path), name=image.name, descriptor=image.descriptor)
    for target, data in ((path / "oci-layout", LAYOUT), (path / "index.json", index_bytes(entries))):
        with _appearing(target) as file:
            file.write(data)


def _is_there(path: Path, *, digest: str, size: int) -> bool:
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest


def _write_archive(store: Store, *, image: StoredImage, path: Path, docker: bool, progress: _Progress) -> None:
    if path.is_dir():
        raise StoreError(f"`{path}` is a folder", hint="name a file, or ask for the form `oci-dir`")
    documents = {"oci-layout": LAYOUT, "index.json": _index(image, docker=docker)}
    if docker:
        documents["manifest.json"] = _docker_manifest(image)
    with _appearing(path) as file:
        for name, data in sorted(documents.items()):
            _write_member(file, name=name, size=len(data), chunks=[data])
        for digest, size in _blobs(image):
            chunks = progress.watch(_verified(store, digest=digest, size=size))
            _write_member(file, name=_blob_name(digest), size=size, chunks=chunks)
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def _write_member(file: BinaryIO, *, name: str, size: int, chunks: Iterable[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    file.write(member.tobuf(tarfile.PAX_FORMAT))
    for chunk in chunks:
        file.write(chunk)
    file.write(bytes(-size % tarfile.BLOCKSIZE))


def _index(image: StoredImage, *, docker: bool) -> bytes:
    entry: dict[str, Any] = image.descriptor.to_json()
    if image.name:
        entry["annotations"] = {REF_NAME: image.name}
        if docker:
            entry["annotations"][CONTAINERD_NAME] = str(normalised(parse(image.name)))
    return index_bytes([entry])


def _docker_manifest(image: StoredImage) -> bytes:
    return canonical_json(
        [
            {
                "Config": _blob_name(str(image.manifest["config"]["digest"])),
                "RepoTags": [image.name] if image.name else [],
                "Layers": [_blob_name(layer.digest) for layer in image.layers],
            }
        ]
    )


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _verified(store: Store, *, digest: str, size: int) -> Iterator[bytes]:
    # The blob's bytes; an error at the end if they are not what the digest says.
    check = hashlib.sha256()
    done = 0
    with store.blob_path(digest).open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            check.update(chunk)
            done += len(chunk)
            yield chunk
    if done != size or f"sha256:{check.hexdigest()}" != digest:
        raise StoreError(f"the blob `{store.blob_path(digest)}` is damaged", hint="remove it and build again")


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    # A file that has its name only when it is complete.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
