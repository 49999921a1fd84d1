"""OCI layout folders, OCI archives and Docker archives (compressed or not) into the store, everything verified."""

from __future__ import annotations

import contextlib
import json
import posixpath
import tarfile
from pathlib import Path
from typing import Any

from builder.errors import ConfigError, StoreError
from builder.frozen import frozen
from builder.inflate import GZIP, ZSTD, diff_id_of
from builder.layers.untar import Bounded
from builder.layout.export import CONTAINERD_NAME
from builder.oci import (
    CONFIG,
    DOCKER_INDEX,
    INDEX,
    LAYER_MEDIA_TYPES,
    Descriptor,
    PackedLayer,
    image_for,
    image_manifest,
    platforms,
)
from builder.reference import parse
from builder.report import Report
from builder.store import Store, StoredImage
from builder.store.disk import explaining
from builder.store.images import load, name_of

_CHUNK = 1 << 20
_LARGEST_DOCUMENT = 32 << 20
_DAMAGED = "it was cut off or changed on the way: copy or make it again"
_BASE = "org.opencontainers.image.base.name"
_FORMS = "give an OCI layout (a folder), an OCI archive, or what `docker save` and `podman save` write"


@frozen
class Imported:
    """An image whose blobs are all in the store and verified, not yet named there; `names` are those it came with."""

    descriptor: Descriptor
    names: tuple[str, ...]


def import_image(
    store: Store,
    *,
    path: Path,
    report: Report,
    name: str | None = None,
    select: str | None = None,
    platform: str | None = None,
) -> StoredImage:
    """Read an image from `path` and name it `name`, by default as it was named there.

    `select` is the name of one of several images in the file, `platform` (`linux/amd64`) one of an index.  A folder may
    lack layers if the image names its base: they are in that one's registry, as after a build.  `StoreError` if it is
    none of the known forms, incomplete, damaged, ambiguous or without a name.
    """
    imported = copy_in(store, path=path, report=report, select=select, platform=platform, lacking=True)
    names = [name] if name else list(imported.names)
    if not names:
        raise StoreError(f"the image in `{path}` has no name", hint="give it one")
    for each in names:
        store.set_image(each, imported.descriptor)
    image = store.image(names[0])
    assert image is not None
    return image


def copy_in(
    store: Store,
    *,
    path: Path,
    report: Report,
    select: str | None = None,
    platform: str | None = None,
    lacking: bool = False,
) -> Imported:
    """Copy one image's blobs from `path` into the store, verified down to the diff ids, without naming it.

    With `lacking`, layers may be absent if the image names its base.
    """
    if path.is_dir():
        if not (path / "oci-layout").is_file():
            raise StoreError(f"`{path}` is not an OCI layout: it has no file `oci-layout`", hint=_FORMS)
        source = _folder(store, path=path)
    elif path.is_file():
        source = _archive(store, path=path, report=report)
    else:
        raise StoreError(
            f"there is no file or folder `{path}`", hint="correct the path; it is relative to where you are"
        )
    try:
        entry, names = source.choose(select=select, platform=platform)
        image = source.complete(entry, lacking=lacking)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise StoreError(f"`{path}` is damaged: {problem!r}", hint=_DAMAGED) from problem
    here = [layer for layer in image.layers if store.has_blob(layer.digest)]
    for layer in here:
        _verify_layer(store, layer=layer, path=path)
    if absent := len(image.layers) - len(here):
        report.note(f"{absent} of {len(image.layers)} layers are not in `{path}`: they are those of the image's base")
    return Imported(descriptor=image.descriptor, names=names)


class _Layout:
    """An OCI layout whose blobs come from a folder or, then already in the store, from an archive."""

    def __init__(self, store: Store, *, path: Path, entries: list[dict[str, Any]], folder: Path | None) -> None:
        self._store = store
        self._path = path
        self._entries = entries
        self._folder = folder

    def choose(self, *, select: str | None, platform: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The one entry meant, and its names."""
        entries = self._entries if select is None else _selected(self._entries, select=select)
        digests = {str(entry["digest"]) for entry in entries}
        if len(digests) != 1:
            known = sorted({name for entry in self._entries if (name := name_of(entry) or _best_name(entry))})
            count = f"{len(digests)} images" if digests else "no image"
            raise StoreError(
                f"`{self._path}` holds {count}" + (f" named `{select}`" if select is not None else ""),
                details="its images: " + ", ".join(f"`{name}`" for name in known) if known else None,
                hint="name one for a base, as in `oci:PATH:NAME`; to import one, copy it to a layout of its own"
                if known
                else _DAMAGED,
            )
        names = dict.fromkeys(name for entry in entries if (name := _best_name(entry)))
        entry = entries[0]
        while entry["mediaType"] in (INDEX, DOCKER_INDEX):
            self._fetch(str(entry["digest"]), size=int(entry["size"]))
            entry = self._of_platform(json.loads(self._document(str(entry["digest"]))), platform=platform)
        return entry, tuple(names)

    def complete(self, entry: dict[str, Any], *, lacking: bool) -> StoredImage:
        """Bring all blobs of the image into the store; with `lacking`, those that are there if it names its base."""
        self._fetch(str(entry["digest"]), size=int(entry["size"]))
        manifest = json.loads(self._document(str(entry["digest"])))
        absent = lacking and self._folder is not None and _BASE in (manifest.get("annotations") or {})
        for each in (manifest["config"], *manifest["layers"]):
            if not (absent and each is not manifest["config"] and self._is_absent(str(each["digest"]))):
                self._fetch(str(each["digest"]), size=int(each["size"]))
        self._document(str(manifest["config"]["digest"]))
        return load(entry, read=self._store.read_blob)

    def _of_platform(self, index: dict[str, Any], *, platform: str | None) -> dict[str, Any]:
        found = platforms(index)
        if platform is None and len(found) == 1:
            return next(iter(found.values())).to_json()
        chosen = image_for(found, platform=platform or "")
        if chosen is None:
            problem = f"no image for the platform `{platform}`" if platform else "images for several platforms"
            raise StoreError(
                f"`{self._path}` has {problem}",
                details="platforms: " + ", ".join(sorted(found)),
                hint="name one with `--platform`",
            )
        return chosen.to_json()

    def _is_absent(self, digest: str) -> bool:
        assert self._folder is not None
        return not (self._folder / digest.removeprefix("sha256:")).exists() and not self._store.has_blob(digest)

    def _fetch(self, digest: str, *, size: int) -> None:
        target = self._store.blob_path(digest)
        if self._folder is not None and not (target.is_file() and target.stat().st_size == size):
            source = self._folder / digest.removeprefix("sha256:")
            if not source.is_file():
                raise StoreError(f"`{self._path}` is incomplete: it lacks the blob `{digest}`", hint=_DAMAGED)
            _copy_blob(self._store, path=source, digest=digest)
        if not target.is_file():
            raise StoreError(f"`{self._path}` is incomplete: it lacks the blob `{digest}`", hint=_DAMAGED)
        actual = target.stat().st_size
        if actual != size:
            raise StoreError(
                f"the blob `{digest}` in `{self._path}` has {actual} bytes instead of {size}", hint=_DAMAGED
            )

    def _document(self, digest: str) -> bytes:
        if self._store.blob_path(digest).stat().st_size > _LARGEST_DOCUMENT:
            raise StoreError(f"the document `{digest}` in `{self._path}` is too large to be one", hint=_DAMAGED)
        return self._store.read_blob(digest)


def _folder(store: Store, *, path: Path) -> _Layout:
    try:
        entries = json.loads((path / "index.json").read_bytes())["manifests"]
    except OSError as problem:
        raise StoreError(
            f"could not read `{path / 'index.json'}`: {(problem.strerror or '').lower()}", hint=_FORMS
        ) from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreError(f"`{path / 'index.json'}` is damaged: {problem!r}", hint=_DAMAGED) from problem
    return _Layout(store, path=path, entries=entries, folder=path / "blobs" / "sha256")


def _archive(store: Store, *, path: Path, report: Report) -> _Layout:
    """Read the whole archive once, front to back (it may be compressed), every file of it into the store."""
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    total = path.stat().st_size
    try:
        with (
            explaining(f"read `{path}`"),
            path.open("rb") as raw,
            tarfile.open(fileobj=raw, mode="r|*", encoding="utf-8", tarinfo=Bounded) as archive,
        ):
            for member in archive:
                name = posixpath.normpath(member.name)
                if member.isreg():
                    files[name] = _copy_member(store, archive=archive, member=member, path=path)
                    report.advance(f"reading {path.name}", min(raw.tell(), total), total)
                elif member.issym():  # older `docker save` links layers that are equal, in the order of their names
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    except (tarfile.TarError, EOFError) as problem:
        raise StoreError(f"`{path}` is not an image archive, or damaged: {problem}", hint=_FORMS) from problem

    files |= {name: files[target] for name, target in links.items() if target in files}

    def document(name: str) -> Any:
        try:
            return json.loads(store.read_blob(files[name]))
        except ValueError as problem:
            raise StoreError(f"`{name}` in `{path}` is damaged: {problem}", hint=_DAMAGED) from problem

    if "oci-layout" in files and "index.json" in files:
        index = document("index.json")
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list):
            raise StoreError(f"`index.json` in `{path}` is damaged: it lists no manifests", hint=_DAMAGED)
    elif "manifest.json" in files:
        try:
            entries = [e for item in document("manifest.json") for e in _converted(store, item=item, files=files)]
        except (KeyError, TypeError, ValueError) as problem:
            raise StoreError(f"`{path}` is damaged or incomplete: {problem!r}", hint=_DAMAGED) from problem
    else:
        raise StoreError(f"`{path}` is neither an OCI archive nor a Docker archive", hint=_FORMS)
    return _Layout(store, path=path, entries=entries, folder=None)


def _copy_member(store: Store, *, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    name = posixpath.normpath(member.name)
    expected = f"sha256:{name.removeprefix('blobs/sha256/')}" if name.startswith("blobs/sha256/") else None
    source = archive.extractfile(member)
    assert source is not None
    with store.writer() as writer:
        while chunk := source.read(_CHUNK):
            writer.write(chunk)
        if writer.tell() != member.size:
            raise StoreError(f"`{path}` ends in the middle of `{member.name}`", hint=_DAMAGED)
        try:
            return writer.commit(expected)[0]
        except StoreError as problem:
            raise StoreError(
                f"`{member.name}` in `{path}` is damaged", details=problem.details, hint=_DAMAGED
            ) from problem


def _converted(store: Store, *, item: dict[str, Any], files: dict[str, str]) -> list[dict[str, Any]]:
    """The entries for one image of a Docker archive: an OCI manifest is made for its configuration and layers."""
    config_digest = files[posixpath.normpath(item["Config"])]
    diff_ids = json.loads(store.read_blob(config_digest))["rootfs"]["diff_ids"]
    layers = []
    for name, diff_id in zip(item["Layers"], diff_ids, strict=True):
        path = store.blob_path(files[posixpath.normpath(name)])
        layers.append(
            PackedLayer(
                digest=files[posixpath.normpath(name)],
                diff_id=diff_id,
                size=path.stat().st_size,
                media_type=_media_type(path),
            )
        )
    size = store.blob_path(config_digest).stat().st_size
    config = Descriptor(media_type=CONFIG, digest=config_digest, size=size)
    manifest = image_manifest(config, layers=layers, annotations=[])
    store.put(manifest.data)
    entry = manifest.descriptor.to_json()
    tags = item.get("RepoTags") or []
    return [{**entry, "annotations": {CONTAINERD_NAME: tag}} for tag in tags] or [entry]


def _media_type(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(GZIP):
        return LAYER_MEDIA_TYPES["gzip"]
    return LAYER_MEDIA_TYPES["zstd" if start == ZSTD else "plain"]


def _copy_blob(store: Store, *, path: Path, digest: str) -> None:
    with store.writer() as writer:
        with explaining(f"read `{path}`"), path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                writer.write(chunk)
        try:
            writer.commit(digest)
        except StoreError as problem:
            raise StoreError(f"the blob `{path}` is damaged", details=problem.details, hint=_DAMAGED) from problem


def _verify_layer(store: Store, *, layer: PackedLayer, path: Path) -> None:
    known = store.layer(f"blob {layer.digest}")
    if known == layer:
        return
    actual = diff_id_of(store.blob_path(layer.digest))
    if actual != layer.diff_id:
        raise StoreError(
            f"the layer `{layer.digest}` in `{path}` is not what the image's configuration says",
            details=f"expected the diff id {layer.diff_id}\ngot              {actual}",
            hint=_DAMAGED,
        )
    store.record_layer(f"blob {layer.digest}", layer)


def _selected(entries: list[dict[str, Any]], *, select: str) -> list[dict[str, Any]]:
    """The entries named exactly so; else those of that name and tag; else those with that tag."""
    exact = [entry for entry in entries if name_of(entry) == select]
    if exact:
        return exact
    tagged = {id(entry): name for entry in entries if (name := _best_name(entry))}
    with contextlib.suppress(ConfigError):
        wanted = parse(select).tagged
        found = [entry for entry in entries if tagged.get(id(entry)) == wanted]
        if found:
            return found
    return [entry for entry in entries if tagged.get(id(entry), "").rpartition(":")[2] == select]


def _best_name(entry: dict[str, Any]) -> str:
    """The name to import under: Docker's and containerd's annotation, else the layout's, if it can be one."""
    annotations = entry.get("annotations") or {}
    for name in (str(annotations.get(CONTAINERD_NAME, "")), name_of(entry)):
        with contextlib.suppress(ConfigError):
            return parse(name.removeprefix("docker.io/library/").removeprefix("docker.io/")).tagged
    return ""
