"""A base image by reference → `ImageBase` and the Python in it.

`REFERENCE` is one of a registry, `oci:PATH[:NAME]` an OCI layout, `oci-archive:PATH[:NAME]` an archive (also Docker's).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.errors import CogsmithError, ResolveError, StoreError
from builder.frozen import frozen
from builder.layout import copy_in
from builder.lock import ImageBase
from builder.oci import Descriptor, PackedLayer
from builder.plan import BaseLayer, Interpreter
from builder.reference import parse
from builder.registry.client import Access
from builder.registry.pull import Origin, pull_documents, pull_layers
from builder.registry.sources import File, Readable, Stream
from builder.report import Report
from builder.resolve.contents import FORMAT, Contents, contents_of, glance
from builder.store import Store
from builder.store.images import layers_of

_MEMO = "base contents"
GLANCE_FROM = 100 << 20
"""Images with so many bytes of layers that are not here are not fetched whole to see what Python they hold."""
_LOCAL = ("oci", "oci-archive", "docker-archive")


@frozen
class _Found:
    """A base image whose documents are in the store."""

    descriptor: Descriptor
    layers: tuple[PackedLayer, ...]
    config: Mapping[str, object]


def resolve_image_base(
    reference: str,
    *,
    project: Path,
    python_version: str | None,
    platform: str,
    store: Store,
    env: Mapping[str, str],
    report: Report,
) -> tuple[ImageBase, Interpreter]:
    """The image for `platform` and the interpreter in it that is wanted (`3.11`; None: any).

    A local path is relative to `project`.  The layers are read once for each digest: what they hold is remembered.
    Raises `ResolveError` if the image has no such Python or no glibc, else what the registry or the layout raises.
    """
    base, interpreter = resolve_bare_base(
        reference,
        project=project,
        python_version=python_version,
        platform=platform,
        store=store,
        env=env,
        report=report,
    )
    if interpreter is None:
        raise no_python(reference, python_version=python_version)
    return base, interpreter


def resolve_bare_base(
    reference: str,
    *,
    project: Path,
    python_version: str | None,
    platform: str,
    store: Store,
    env: Mapping[str, str],
    report: Report,
    glibc: str | None = None,
) -> tuple[ImageBase, Interpreter | None]:
    """As `resolve_image_base`; no interpreter where the image has none at all.

    With `glibc` it is known that the image has that and no Python: its layers are neither fetched nor read.
    """
    found = _find(reference, project=project, platform=platform, store=store, env=env, report=report)
    if glibc is not None:
        return _image_base(reference, found=found, glibc=glibc), None
    contents = _glanced(reference, found=found, python_version=python_version, store=store, env=env, report=report)
    key = f"{FORMAT} {found.descriptor.digest}"
    if contents is None:
        contents = _remembered(key, store=store)
    if contents is None:
        fetch_base_layers(reference, layers=found.layers, project=project, store=store, env=env, report=report)
        contents = contents_of(found.layers, env=_env(found.config), store=store, report=report)
        store.remember(_MEMO, key, json.dumps(dataclasses.asdict(contents), sort_keys=True))
    interpreter = _choose(contents, reference=reference, python_version=python_version, env=_env(found.config))
    return _image_base(reference, found=found, glibc=contents.glibc), interpreter


def _glanced(
    reference: str,
    *,
    found: _Found,
    python_version: str | None,
    store: Store,
    env: Mapping[str, str],
    report: Report,
) -> Contents | None:
    """What the beginnings of a large image's layers tell, read from its registry; none where that is not enough."""
    absent = [layer for layer in found.layers if not store.has_blob(layer.digest)]
    key = f"{FORMAT} {found.descriptor.digest}"
    if not absent or sum(layer.size for layer in absent) < GLANCE_FROM or store.memo(_MEMO, key) is not None:
        return None
    key = f"{key} {python_version}"
    contents = _remembered(key, store=store)
    if contents is not None:
        return contents
    origin = Origin(parse(reference), access=Access(env=env), report=report)

    def open_layer(layer: PackedLayer) -> Readable:
        if store.has_blob(layer.digest):
            return File(store.blob_path(layer.digest), start=0)
        return Stream(origin, descriptor=layer.descriptor, start=0, count=layer.size)

    report.note(f"looking for Python {python_version or ''} in {reference}".replace("  ", " "))
    import urllib3

    try:
        contents = glance(found.layers, env=_env(found.config), python_version=python_version, open_layer=open_layer)
    except (CogsmithError, OSError, urllib3.exceptions.HTTPError):
        return None  # what is wrong shows when the whole is fetched, which goes on where it was cut off
    if contents is not None:
        store.remember(_MEMO, key, json.dumps(dataclasses.asdict(contents), sort_keys=True))
    return contents


def _remembered(key: str, *, store: Store) -> Contents | None:
    memo = store.memo(_MEMO, key)
    return None if memo is None else Contents.from_json(json.loads(memo))


def fetch_base_layers(
    reference: str,
    *,
    layers: Sequence[PackedLayer],
    project: Path,
    store: Store,
    env: Mapping[str, str],
    report: Report,
) -> None:
    """Bring those layers of a base image that the store lacks from where `reference` says."""
    if all(store.has_blob(layer.digest) for layer in layers):
        return
    local = _local(reference, project=project)
    if local is None:
        access = Access(env=env)
        pull_layers(parse(reference), layers=layers, store=store, access=access, report=report)
        return
    path, select = local
    copy_in(store, path=path, select=select, report=report)
    missing = [layer.digest for layer in layers if not store.has_blob(layer.digest)]
    if missing:
        raise StoreError(
            f"`{reference}` is no longer the image that was locked: it lacks layers",
            details="\n".join(missing),
            hint="restore it, or make the lock anew",
        )


def _find(
    reference: str, *, project: Path, platform: str, store: Store, env: Mapping[str, str], report: Report
) -> _Found:
    local = _local(reference, project=project)
    if local is None:
        pulled = pull_documents(parse(reference), platform=platform, store=store, access=Access(env=env), report=report)
        return _Found(descriptor=pulled.descriptor, layers=pulled.layers, config=pulled.config)
    path, select = local
    imported = copy_in(store, path=path, select=select, platform=platform, report=report)
    manifest = json.loads(store.read_blob(imported.descriptor.digest))
    config = json.loads(store.read_blob(manifest["config"]["digest"]))
    actual = f"{config.get('os')}/{config.get('architecture')}"
    if actual != "/".join(platform.split("/")[:2]):
        raise ResolveError(
            f"the base image `{reference}` is for `{actual}`, not for `{platform}`",
            hint=f"name one for `{platform}` in `build.base_image`, or build with `--platform {actual}`",
        )
    return _Found(descriptor=imported.descriptor, layers=layers_of(manifest, config=config), config=config)


def _local(reference: str, *, project: Path) -> tuple[Path, str | None] | None:
    scheme, _, rest = reference.partition(":")
    if scheme not in _LOCAL or not rest:
        return None
    whole = project / rest
    if whole.exists():
        return whole, None
    path, _, name = rest.partition(":")
    return project / path, name or None


def _env(config: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    inner = config.get("config")
    lines = inner.get("Env") if isinstance(inner, dict) else None
    pairs = (str(line).partition("=") for line in lines or ())
    return tuple((name, value) for name, _, value in pairs)


def _choose(
    contents: Contents, *, reference: str, python_version: str | None, env: Sequence[tuple[str, str]]
) -> Interpreter | None:
    if contents.musl and not contents.glibc:
        raise ResolveError(
            f"the base image `{reference}` is built on musl, for which most packages have no wheels",
            hint="choose an image with glibc: for an Alpine image, its `-slim` sibling",
        )
    if not contents.glibc:
        raise ResolveError(f"the base image `{reference}` has no C library that is known", hint="choose another image")
    known = ", ".join(f"{found.version} (`{found.path}`)" for found in contents.interpreters)
    wanted = ".".join((python_version or "").split(".")[:2])
    fitting = [found for found in contents.interpreters if not wanted or found.minor == wanted]
    if not contents.interpreters:
        return None
    if not fitting:
        raise ResolveError(
            f"the base image `{reference}` has no Python {wanted}",
            details=f"it has {known}",
            hint=f"set `python_version` to one that it has, or choose an image with Python {wanted}",
        )
    # What a shell would find first; images put the Python that they are about in front.
    folders = dict(env).get("PATH", "").split(":")
    order = {folder.rstrip("/"): at for at, folder in reversed(list(enumerate(folders)))}
    exact = [found for found in fitting if found.version == python_version]
    return min(exact or fitting, key=lambda found: (order.get(found.path.rpartition("/")[0], len(order)), found.path))


def no_python(reference: str, *, python_version: str | None) -> ResolveError:
    """The error for a base image without the Python that is wanted."""
    wanted = ".".join((python_version or "").split(".")[:2])
    return ResolveError(
        f"the base image `{reference}` has no Python {wanted}".rstrip(),
        hint="name one in `build.python_version`, which is then a layer of its own; or choose an image that has Python,"
        f" such as `python:{wanted or '3.13'}-slim`",
    )


def _image_base(reference: str, *, found: _Found, glibc: str) -> ImageBase:
    inner = found.config.get("config")
    config = inner if isinstance(inner, dict) else {}
    return ImageBase(
        reference=reference,
        digest=found.descriptor.digest,
        media_type=found.descriptor.media_type,
        size=found.descriptor.size,
        layers=tuple(
            BaseLayer(digest=layer.digest, diff_id=layer.diff_id, size=layer.size, media_type=layer.media_type)
            for layer in found.layers
        ),
        env=_env(found.config),
        labels=tuple(sorted((str(k), str(v)) for k, v in (config.get("Labels") or {}).items())),
        entrypoint=tuple(map(str, config.get("Entrypoint") or ())),
        cmd=tuple(map(str, config.get("Cmd") or ())),
        working_dir=str(config.get("WorkingDir") or ""),
        user=str(config.get("User") or ""),
        glibc=glibc,
    )
