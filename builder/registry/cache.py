"""A repository as a cache that machines share: layers and files by key, each under a tag of its own.

An entry is an OCI manifest whose one blob is the layer or the file.  What is read is compared with what the entry says
of it; a cache that cannot be used is one warning, never an error.  Who may write there decides what executed layers
hold.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from builder.errors import CogsmithError
from builder.frozen import frozen
from builder.inflate import diff_id_of
from builder.oci import MANIFEST, Descriptor, PackedLayer, document
from builder.reference import Reference
from builder.registry import known
from builder.registry.client import Access, Client
from builder.registry.places import full
from builder.registry.pull import Origin
from builder.registry.push import have, put_manifest
from builder.registry.referrers import EMPTY, EMPTY_TYPE
from builder.registry.sources import Bytes, File, Readable
from builder.registry.upload import Blob, Limits, upload
from builder.report import Report
from builder.store import Store
from builder.store.images import digest_of

T = TypeVar("T")

LAYER_TYPE = "application/vnd.cogsmith.cache.layer.v1"
FILE_TYPE = "application/vnd.cogsmith.cache.file.v1"
KEY = "dev.cogsmith.cache.key"
DIFF_ID = "dev.cogsmith.cache.diff-id"
TITLE = "org.opencontainers.image.title"
_OCTETS = "application/octet-stream"
_TAG_LENGTH = 40
"""Hex digits of a key in a tag; the whole key is in the entry."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@frozen
class KeptFile:
    """A file of the cache, verified: its bytes are at `store.file_path(sha256)`."""

    name: str
    sha256: str
    size: int


class CacheRepository:
    """The cache in one repository.  May be shared by threads; asks nothing before its first call."""

    def __init__(self, reference: Reference, *, access: Access, store: Store, report: Report) -> None:
        self.reference = full(reference, env=access.env)
        self._access = access
        self._store = store
        self.report = report
        self._lock = threading.Lock()
        self._refused: set[str] = set()
        self._seen: set[str] = set()
        self._looking: Client | None = None

    @property
    def name(self) -> str:
        """The repository, for messages."""
        return self.reference.name

    def have(self, digests: Sequence[str]) -> set[str]:
        """Those of the blobs that the repository has; none if it cannot be asked."""

        def ask() -> set[str]:
            found = have(self._client(), digests)
            known.note(self._store, repository=self.reference, digests=found)
            return found

        return self._tried("read", ask, otherwise=set()) if digests else set()

    def find(self, key: str, *, media_type: str) -> PackedLayer | None:
        """What was kept under the key of a layer, if it is a layer of that media type; nothing is downloaded."""

        def ask() -> PackedLayer | None:
            entry = self._entry(f"layer-{key[:_TAG_LENGTH]}", key=key, kind=LAYER_TYPE)
            if entry is None:
                return None
            blob, annotations = entry
            diff_id = annotations.get(DIFF_ID, "")
            if blob.media_type != media_type or not _DIGEST.fullmatch(diff_id):
                self._refuse(key, why=f"it is `{blob.media_type}` with the diff id `{diff_id}`")
                return None
            known.note(self._store, repository=self.reference, digests=[blob.digest])
            return PackedLayer(digest=blob.digest, diff_id=diff_id, size=blob.size, media_type=media_type)

        return self._tried("read", ask, otherwise=None)

    def fetch(self, layer: PackedLayer, *, key: str, proven: bool = False) -> bool:
        """Bring the blob of a layer into the store; false, and why aloud, if it is not what the entry says.

        `proven`: a lock names the digest, so that nothing but the digest need be looked at.
        """

        def bring() -> bool:
            self._origin().blob(layer.descriptor, store=self._store, stop=threading.Event())
            actual = layer.diff_id if proven else diff_id_of(self._store.blob_path(layer.digest))
            if actual != layer.diff_id:
                self._refuse(key, why=f"the diff id of {layer.digest} is {actual}, not {layer.diff_id}")
                return False
            self._seen.add(key)
            return True

        return self._tried("read", bring, otherwise=False)

    def keep(self, key: str, layer: PackedLayer, *, title: str) -> None:
        """Put a layer of the store there, unless it is there: asked each time, for registries remove what is old."""
        tag = f"layer-{key[:_TAG_LENGTH]}"
        if key in self._seen or self._tried("read", lambda: self._has(tag), otherwise=False):
            self._seen.add(key)
            return

        def put() -> None:
            path = self._store.blob_path(layer.digest)
            label = f"{layer.digest[7:19]} {title}"
            annotations = {KEY: key, DIFF_ID: layer.diff_id, TITLE: title}
            self._put(
                tag,
                blob=layer.descriptor,
                kind=LAYER_TYPE,
                annotations=annotations,
                reader=lambda start, _: File(path, start=start),
                label=label,
            )
            self._seen.add(key)
            self.report.note(f"kept {label} in the cache {self.name}")

        self._tried("write", put, otherwise=None)

    def get_file(self, key: str) -> KeptFile | None:
        """The file that was kept under that key, brought into the store's files."""

        def get() -> KeptFile | None:
            entry = self._entry(f"file-{key[:_TAG_LENGTH]}", key=key, kind=FILE_TYPE)
            if entry is None:
                return None
            blob, annotations = entry
            name = annotations.get(TITLE, "")
            if not name or "/" in name or name.startswith("."):
                self._refuse(key, why=f"`{name}` is no name of a file")
                return None
            sha256 = blob.digest.removeprefix("sha256:")
            self._origin().file(blob, store=self._store, name=name)
            return KeptFile(name=name, sha256=sha256, size=blob.size)

        return self._tried("read", get, otherwise=None)

    def keep_file(self, key: str, path: Path, *, name: str) -> None:
        """Put a file there under a key of the caller's; `name` is what it is called."""

        def put() -> None:
            digest = f"sha256:{self._store.hash_file(path, path.stat())}"
            tag = f"file-{key[:_TAG_LENGTH]}"
            if self._has(tag):
                return
            self._put(
                tag,
                blob=Descriptor(media_type=_OCTETS, digest=digest, size=path.stat().st_size),
                kind=FILE_TYPE,
                annotations={KEY: key, TITLE: name},
                reader=lambda start, _: File(path, start=start),
                label=name,
            )

        self._tried("write", put, otherwise=None)

    def _entry(self, tag: str, *, key: str, kind: str) -> tuple[Descriptor, dict[str, str]] | None:
        """The blob and the annotations of an entry; none if there is none, or it is not of that key and kind."""
        client = self._client()
        what = f"`{self.name}:{tag}`"
        response = client.steadily("GET", client.url(f"manifests/{tag}"), what=what, headers={"Accept": MANIFEST})
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise client.refused(response, what=what)
        try:
            manifest: dict[str, Any] = json.loads(response.content)
            (blob,) = [Descriptor.from_json(one) for one in manifest["layers"]]
            annotations = {str(name): str(value) for name, value in manifest["annotations"].items()}
            if manifest["artifactType"] != kind or annotations[KEY] != key or not _DIGEST.fullmatch(blob.digest):
                raise ValueError("it is an entry for something else")
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            self._refuse(key, why=str(problem) if type(problem) is ValueError else f"it is damaged: {problem!r}")
            return None
        return blob, annotations

    def _has(self, tag: str) -> bool:
        """Whether somebody has kept it: the first stays, for tags may be immutable, and all of one key are worth the
        same.  One client, and so one token, serves all who ask.
        """
        with self._lock:
            self._looking = self._looking or self._client()
        return self._looking.has(f"manifests/{tag}", what=f"`{self.name}:{tag}`", headers={"Accept": MANIFEST})

    def _put(
        self,
        tag: str,
        *,
        blob: Descriptor,
        kind: str,
        annotations: dict[str, str],
        reader: Callable[[int, int], Readable],
        label: str,
    ) -> None:
        client = self._client(actions="pull,push")
        config = Descriptor(media_type=EMPTY_TYPE, digest=digest_of(EMPTY), size=len(EMPTY))
        entry = document(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": kind,
                "config": config.to_json(),
                "layers": [blob.to_json()],
                "annotations": annotations,
            },
            media_type=MANIFEST,
        )
        uploads = known.Uploads(self._store, repository=self.name)
        for one, opened, named in ((config, Bytes(EMPTY).part, "configuration"), (blob, reader, label)):
            mount = known.mount_from(self._store, registry=self.reference.registry, digest=one.digest)
            upload(
                Blob(digest=one.digest, size=one.size, label=named, open=opened),
                client=client,
                memory=uploads,
                limits=Limits(),
                mount=None if mount == self.reference.repository else mount,
                advance=lambda done, one=one, named=named: self.report.advance(named, done, one.size),  # type: ignore[misc]
            )
        put_manifest(client, entry, pointer=tag)
        known.note(self._store, repository=self.reference, digests=[blob.digest])

    def _client(self, *, actions: str = "pull") -> Client:
        # Each with a signal of its own: work that was given up elsewhere does not end what comes later.
        access = dataclasses.replace(self._access, stop=threading.Event())
        return Client(self.reference, access=access, actions=actions)

    def _origin(self) -> Origin:
        return Origin(self.reference, access=self._access, report=self.report)

    def _refuse(self, key: str, *, why: str) -> None:
        self.report.warn(f"refused what {self.name} has for the key {key[:12]}: {why}")

    def _tried(self, what: str, action: Callable[[], T], *, otherwise: T) -> T:
        """Do it; after the first failure say why, and do no such thing again."""
        if what in self._refused:
            return otherwise
        try:
            return action()
        except CogsmithError as problem:
            with self._lock:
                first, self._refused = what not in self._refused, self._refused | {what}
            if first:
                details = f": {problem.details.splitlines()[0]}" if problem.details else ""
                self.report.warn(f"cannot {what} the cache {self.name}: {problem.brief}{details}")
            return otherwise
