"""The local store: blobs and images (an OCI layout), inputs by hash, unpacked layers, and an index of what is known.

Safe under concurrent processes and `kill -9`: files appear whole, leftovers of dead writers are swept.  It must open in
a few milliseconds: imports only the standard library and `errors`, `oci`, `plan`, `reference`, `report`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.errors import StoreError
from builder.oci import Descriptor, PackedLayer
from builder.reference import parse
from builder.report import Report
from builder.store import disk, images, prune
from builder.store.disk import Partial, Writer
from builder.store.images import StoredImage
from builder.store.index import Index
from builder.store.prune import Item, Usage

__all__ = ["Item", "Partial", "Store", "StoredImage", "Usage", "Writer"]


class Store:
    """A folder that holds everything; see the module.  May be shared by threads; every process opens its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / "tmp"
        self._locks = root / "locks"
        self._blobs = root / "blobs" / "sha256"
        self._files = root / "files" / "sha256"
        self._unpacked = root / "unpacked"
        self._index = Index(root / "index.sqlite", locks=self._locks)
        self._users = 0

    @classmethod
    def open(cls, root: Path) -> Store:
        """Open the store, making it where there is none, and sweep what killed processes left behind."""
        store = cls(root.absolute())
        with disk.explaining(f"make the cache `{root}`"):
            for folder in (store._tmp, store._locks, store._blobs, store._files, store._unpacked):
                folder.mkdir(parents=True, exist_ok=True)
            layout = root / "oci-layout"
            made = layout.exists() and (root / "index.json").exists()
        try:
            if not made:
                with disk.locked(store._locks / "images"):
                    disk.replace(layout, images.LAYOUT, tmp=store._tmp)
                    if not (root / "index.json").exists():
                        disk.replace(root / "index.json", images.index_bytes([]), tmp=store._tmp)
            store._sweep()
            store._index.connect()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Write what is only in memory (file hashes) and release the index."""
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()

    # Blobs

    def blob_path(self, digest: str) -> Path:
        """Where the blob is or would be."""
        return self._blobs / disk.hex_of(digest)

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.blob_path(digest).is_file()

    def read_blob(self, digest: str) -> bytes:
        """A small blob's bytes, verified."""
        path = self.blob_path(digest)
        with disk.explaining(f"read the blob `{digest}`"):
            data = path.read_bytes()
        if images.digest_of(data) != digest:
            raise StoreError(f"the blob `{path}` is damaged", hint="remove it and build again")
        return data

    def writer(self, *, hashing: bool = True) -> Writer:
        """A new blob; use it in a `with` block and `commit` it.

        `hashing=False` is for a caller who hashes the very same bytes anyway and commits with that digest.
        """
        return Writer(self._tmp, target=self.blob_path, hashing=hashing)

    def put(self, data: bytes) -> str:
        """Store a small blob and return its digest."""
        digest = images.digest_of(data)
        if not disk.has_size(self.blob_path(digest), size=len(data)):
            with self.writer() as writer:
                writer.write(data)
                writer.commit(digest)
        return digest

    def adopt(self, path: Path, digest: str) -> None:
        """Take in a file that is known to be the blob `digest`: as a hard link where that can be, else as a copy."""
        target = self.blob_path(digest)
        with disk.explaining(f"write `{target}`"):
            size = path.stat().st_size
            if target.exists() and not disk.has_size(target, size=size):
                target.unlink()  # damaged
            try:
                os.link(path, target)
            except FileExistsError:
                return
            except OSError:  # another file system, or another user's file
                with self.writer() as writer, path.open("rb", buffering=0) as file:
                    while chunk := file.read(disk.BUFFER):
                        writer.write(chunk)
                    writer.commit(digest)

    def partial_blob(self, digest: str, *, report: Report | None = None) -> contextlib.AbstractContextManager[Partial]:
        """A blob's resumable download, to be committed to `blob_path`; waits while another process is at it."""
        return self._partial(disk.hex_of(digest), report=report)

    # Inputs

    def file_path(self, sha256: str) -> Path:
        """Where the input with that hash (hex) is or would be; counts as a use."""
        path = self._files / disk.hex_of(f"sha256:{sha256}")
        _touch(path)
        return path

    def has_file(self, sha256: str) -> bool:
        """Whether the input is here."""
        return self.file_path(sha256).is_file()

    def file_writer(self, sha256: str, size: int) -> FileWriter:
        """A new input; `commit` refuses another content than that of `sha256` and `size`."""
        return FileWriter(self._tmp, target=self._file_target, sha256=sha256, size=size)

    def add_file(self, path: Path) -> str:
        """Copy a file in and return its sha256."""
        with Writer(self._tmp, target=self._file_target) as writer:
            with disk.explaining(f"read `{path}`"), path.open("rb", buffering=0) as file:
                while chunk := file.read(disk.BUFFER):
                    writer.write(chunk)
            return writer.commit()[0].removeprefix("sha256:")

    def partial_file(self, sha256: str, *, report: Report | None = None) -> contextlib.AbstractContextManager[Partial]:
        """An input's resumable download, to be committed to `file_path`; waits while another process is at it."""
        return self._partial(sha256, report=report)

    # What is known

    def layer(self, key: str) -> PackedLayer | None:
        """The layer packed under that key (`plan.layer_key`), if its blob is here whole."""
        packed = self._index.layer(key)
        return packed if packed is not None and self._present(packed) else None

    def layer_by_diff_id(self, diff_id: str) -> PackedLayer | None:
        """A layer with that uncompressed content whose blob is here whole."""
        return next(filter(self._present, self._index.layer_by_diff_id(diff_id)), None)

    def record_layer(self, key: str, packed: PackedLayer) -> None:
        """Remember what a key's layer became."""
        self._index.record_layer(key, packed)

    def hash_file(self, path: Path, stat: os.stat_result) -> str:
        """sha256 (hex) of the file that `stat` describes, remembered by device, inode, size and times.

        `LayerError` if it changes meanwhile or cannot be read.
        """
        return self._index.hash_file(path, stat)

    def memo(self, kind: str, key: str) -> str | None:
        """A small value remembered under (kind, key)."""
        return self._index.memo(kind, key)

    def remember(self, kind: str, key: str, value: str) -> None:
        """Remember a small value."""
        self._index.remember(kind, key, value)

    # Images

    def set_image(self, name: str, descriptor: Descriptor) -> None:
        """Let `name` (`[registry/]repository[:tag]`) stand for a manifest whose blobs are here."""
        full = parse(name).tagged
        if not self.has_blob(descriptor.digest):
            raise StoreError(
                f"the manifest `{descriptor.digest}` is not in the store", hint="build or pull the image again"
            )
        with disk.explaining(f"write below `{self._blobs}`"):
            disk.sync_folder(self._blobs)
        with disk.locked(self._locks / "images"):
            entries = images.read_index(self.root)
            after = images.named(entries, name=full, descriptor=descriptor)
            if images.index_bytes(entries) != images.index_bytes(after):
                disk.replace(self.root / "index.json", images.index_bytes(after), tmp=self._tmp)

    def image(self, reference: str, *, platform: str = "") -> StoredImage | None:
        """The image for `name[:tag]`, a digest or its unique beginning; `StoreError` if ambiguous or damaged.

        Of an index, the one for `platform` (`linux/arm64`), else its first.
        """
        entry = images.find(images.read_index(self.root), reference)
        if entry is None:
            return None
        one = images.for_platform(images.parts(entry, read=self.read_blob), platform=platform)
        image = images.load(one, read=self.read_blob)
        config = str(image.manifest["config"]["digest"])
        for digest in (image.digest, config, *(layer.digest for layer in image.layers)):
            _touch(self.blob_path(digest))
        return image

    def images(self, reference: str = "") -> list[StoredImage]:
        """All images by name, those that cannot be read left out; or those that one name stands for, in order."""
        found, entries = [], images.read_index(self.root)
        for entry in [e for e in (images.find(entries, reference),) if e] if reference else entries:
            with contextlib.suppress(*() if reference else (StoreError,)):
                parts = images.parts(entry, read=self.read_blob)
                found += [images.load(one, read=self.read_blob) for one in parts]
        return found if reference else sorted(found, key=lambda image: image.name)

    def remove_image(self, reference: str) -> bool:
        """Forget the name(s) of an image; its blobs stay until `prune`.  False if there is none."""
        with disk.locked(self._locks / "images"):
            entries = images.read_index(self.root)
            rest = images.without(entries, reference=reference)
            if len(rest) == len(entries):
                return False
            disk.replace(self.root / "index.json", images.index_bytes(rest), tmp=self._tmp)
            return True

    # Unpacked layers

    def unpacked_path(self, diff_id: str, *, owners: bool, ids: str = "") -> Path:
        """Where a layer's tree is or would be, for the engine; counts as a use.

        Trees with the files' owners (made by root, or by the subordinate `ids` of a user) and without (everything is
        the user's) are different things.
        """
        name = prune.tree_name(diff_id, owners=owners, ids=ids)
        _touch(prune.marker(self.root, name))
        return self._unpacked / name

    def unpacked_lock(
        self, diff_id: str, *, owners: bool, ids: str = "", report: Report | None = None
    ) -> contextlib.AbstractContextManager[int]:
        """Held while a layer's tree is made, so that two processes do not make it at once."""
        waiting = disk.note_once(report, "waiting for another process that unpacks the same layer")
        return disk.locked(prune.marker(self.root, prune.tree_name(diff_id, owners=owners, ids=ids)), waiting=waiting)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder in `tmp/` for the block; what the block leaves there is removed as far as it can be."""
        with disk.locked_new_folder(self._tmp) as path:
            yield path

    # Keeping house

    @contextlib.contextmanager
    def using(self, *, report: Report | None = None) -> Iterator[None]:
        """Held by everything that builds or runs, so that `prune` takes nothing away meanwhile."""
        waiting = disk.note_once(report, "waiting for `cogsmith cache prune` to finish")
        with disk.locked(self._locks / "store", shared=True, waiting=waiting):
            self._users += 1
            try:
                yield
            finally:
                self._users -= 1
                self._index.flush()

    def usage(self) -> list[Usage]:
        """Number and bytes of each kind of content: layers, inputs, images, unpacked, temporary, memos."""
        items = self._survey(keep_images=True)
        return [
            Usage(
                kind=kind,
                count=sum(item.kind == kind for item in items),
                size=sum(item.size for item in items if item.kind == kind),
            )
            for kind in prune.KINDS
        ]

    def prune(
        self,
        *,
        keep_images: bool = True,
        everything: bool = False,
        max_bytes: int | None = None,
        dry_run: bool = False,
        remove_tree: Callable[[Path], None] | None = None,
        report: Report | None = None,
    ) -> tuple[Item, ...]:
        """Remove what no image needs and return it; with `dry_run`, only say what would go.

        `keep_images=False` lets images go too, `everything` images and memos.  With `max_bytes`, only so much goes,
        least recently used first, that the rest takes at most that many bytes.  `remove_tree` removes unpacked trees
        (they may hold files of other user ids).  Waits for running builds, so it is never called inside `using`; a
        `dry_run` waits for nobody but another `prune`.
        """
        assert dry_run or not self._users, "prune waits for all users of the store, so it cannot be one"
        waiting = disk.note_once(report, "waiting for other cogsmith processes that use the cache")
        with disk.locked(self._locks / "store", shared=dry_run, waiting=waiting):
            keep = keep_images and not everything
            items = self._survey(keep_images=keep)
            chosen = prune.choose(items, everything=everything, max_bytes=max_bytes)
            if dry_run:
                return chosen
            if not keep:
                self._forget_images({item.name for item in chosen})
            prune.remove(self.root, chosen, remove_tree=remove_tree)
            self._index.forget_layers([item.name for item in chosen if item.kind == "layers"])
            if any(item.kind == "memos" for item in chosen):
                self._index.forget_memos()
            return chosen

    def _survey(self, *, keep_images: bool) -> list[Item]:
        documents: set[str] = set()
        layers: set[str] = set()
        for digest, document in images.needed(images.read_index(self.root), read=self.read_blob):
            (documents if document else layers).add(digest)
        items = list(prune.survey(self.root, documents=documents, layers=layers))
        if not keep_images:
            items = [prune.without_need(item) for item in items]
        with contextlib.suppress(StoreError):
            size = self._index.memo_size()
            if size:
                path = self.root / "index.sqlite"
                items.append(Item(kind="memos", name="memos", size=size, path=path, needed=True))
        return items

    def _forget_images(self, gone: set[str]) -> None:
        with disk.locked(self._locks / "images"):
            entries = images.read_index(self.root)
            rest = [
                entry
                for entry in entries
                if not gone & {digest for digest, _ in images.needed([entry], read=self.read_blob)}
            ]
            disk.replace(self.root / "index.json", images.index_bytes(rest), tmp=self._tmp)

    def _sweep(self) -> None:
        with disk.explaining(f"read `{self._tmp}`"):
            for path, _ in disk.leftovers(self._tmp, partials=False):
                if not path.is_dir():
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _partial(self, sha256: str, *, report: Report | None) -> contextlib.AbstractContextManager[Partial]:
        waiting = disk.note_once(report, "waiting for another process that downloads the same file")
        return disk.partial(self._tmp, sha256, waiting=waiting)

    def _present(self, packed: PackedLayer) -> bool:
        path = self.blob_path(packed.digest)
        present = disk.has_size(path, size=packed.size)
        if present:
            _touch(path)
        return present

    def _file_target(self, digest: str) -> Path:
        return self._files / disk.hex_of(digest)


class FileWriter(Writer):
    """A writer of an input whose hash and size are known beforehand."""

    def __init__(self, tmp: Path, *, target: Callable[[str], Path], sha256: str, size: int) -> None:
        super().__init__(tmp, target=target)
        self._expected = (f"sha256:{sha256}", size)

    def commit(self, expected: str | None = None) -> tuple[str, int]:
        """Make the input appear; `StoreError` if it is another content."""
        digest, size = self._expected
        if self.tell() != size:
            details = f"expected {size} bytes, got {self.tell()}"
            raise StoreError("the content is not what it should be", details=details, hint=disk.CHANGED)
        return super().commit(expected or digest)


def _touch(path: Path) -> None:
    # The time of the last use, by the file system's clock; `prune` goes by it.
    with contextlib.suppress(OSError):
        os.utime(path)
