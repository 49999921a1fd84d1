"""The store's SQLite index: layer key → packed layer, file → hash, small memos.  A cache: losing it loses time only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from builder.errors import LayerError, StoreError
from builder.oci import PackedLayer
from builder.store import disk

SCHEMA_VERSION = 1
_SCHEMA = """
create table layers (key text primary key, digest text not null, diff_id text not null, size integer not null,
                     media_type text not null) without rowid;
create index layers_by_diff_id on layers (diff_id);
create index layers_by_digest on layers (digest);
create table hashes (device integer, inode integer, size integer, mtime integer, ctime integer, sha256 text not null,
                     primary key (device, inode)) without rowid;
create table memos (kind text, key text, value text not null, primary key (kind, key)) without rowid;
"""
_BUSY_SECONDS = 60
_BATCH = 256
_SMALL = 1 << 18
_SECOND = 1_000_000_000


class Index:
    """One connection, shared by the threads of a process.  Opened at first use."""

    def __init__(self, path: Path, *, locks: Path) -> None:
        self._path = path
        self._making = locks / "index"
        self._stamp = locks / "clock"
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._hashed: dict[tuple[int, int], tuple[int, int, int, int, int, str]] = {}

    def layer(self, key: str) -> PackedLayer | None:
        """The layer recorded under a key."""
        return next(iter(self._layers("key", key)), None)

    def layer_by_diff_id(self, diff_id: str) -> list[PackedLayer]:
        """Every layer recorded with that uncompressed content."""
        return self._layers("diff_id", diff_id)

    def record_layer(self, key: str, layer: PackedLayer) -> None:
        """Remember a layer."""
        row = (key, layer.digest, layer.diff_id, layer.size, layer.media_type)
        self._change("insert or replace into layers values (?, ?, ?, ?, ?)", [row])

    def forget_layers(self, digests: list[str]) -> None:
        """Drop what is recorded of removed blobs."""
        self._change("delete from layers where digest = ?", [(digest,) for digest in digests])

    def memo(self, kind: str, key: str) -> str | None:
        """A remembered value."""
        rows = self._rows("select value from memos where kind = ? and key = ?", kind, key)
        return rows[0][0] if rows else None

    def remember(self, kind: str, key: str, value: str) -> None:
        """Remember a value."""
        self._change("insert or replace into memos values (?, ?, ?)", [(kind, key, value)])

    def memo_size(self) -> int:
        """Bytes of memos and file hashes, roughly."""
        rows = self._rows(
            "select (select coalesce(sum(length(kind) + length(key) + length(value)), 0) from memos)"
            " + (select count(*) * 112 from hashes)"
        )
        return int(rows[0][0])

    def forget_memos(self) -> None:
        """Drop memos and file hashes."""
        with self._lock:
            self._hashed.clear()
            self._change("delete from memos where 1 = ?", [(1,)])
            self._change("delete from hashes where 1 = ?", [(1,)])

    def hash_file(self, path: Path, stat: os.stat_result) -> str:
        """The sha256 of a file that `stat` describes, from the cache where it did not change since."""
        key = (stat.st_dev, _signed(stat.st_ino))
        seen = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        with self._lock:
            row = self._hashed.get(key)
            if row is not None and row[2:5] == seen:
                return row[5]
        rows = self._rows("select size, mtime, ctime, sha256 from hashes where device = ? and inode = ?", *key)
        if rows and tuple(rows[0][:3]) == seen:
            return str(rows[0][3])
        now = self._now()
        sha256 = _hash(path, stat)
        if _settled(stat, now=now):
            with self._lock:
                self._hashed[key] = (*key, *seen, sha256)
                full = len(self._hashed) >= _BATCH
            if full:
                self.flush()
        return sha256

    def flush(self) -> None:
        """Write the file hashes gathered so far."""
        with self._lock:
            if self._hashed:
                self._change("insert or replace into hashes values (?, ?, ?, ?, ?, ?)", list(self._hashed.values()))
                self._hashed.clear()

    def close(self) -> None:
        """Flush and disconnect."""
        with self._lock:
            if self._connection is None:
                return
            with contextlib.suppress(StoreError):  # a full disk: only file hashes are lost
                self.flush()
            self._connection.close()
            self._connection = None

    def connect(self) -> None:
        """Open the database, making it where there is none; `StoreError` if a newer cogsmith made it."""
        with self._lock:
            if self._connection is not None:
                return
            with self._explaining():
                connection = sqlite3.connect(
                    self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
                try:
                    _prepare(connection, path=self._path, making=self._making)
                except BaseException:
                    connection.close()
                    raise
            self._connection = connection

    def _layers(self, column: Literal["key", "diff_id"], value: str) -> list[PackedLayer]:
        query = f"select digest, diff_id, size, media_type from layers where {column} = ? order by key"  # noqa: S608
        return [
            PackedLayer(digest=digest, diff_id=diff_id, size=size, media_type=media_type)
            for digest, diff_id, size, media_type in self._rows(query, value)
        ]

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock, self._explaining():
            self.connect()
            assert self._connection is not None
            return self._connection.execute(query, values).fetchall()

    def _change(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with self._lock, self._explaining():
            self.connect()
            assert self._connection is not None
            self._connection.execute("begin immediate")
            try:
                self._connection.executemany(statement, rows)
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise

    def _now(self) -> int:
        # The file system's own idea of now, in ns: what a file that is written at this moment would get.
        try:
            os.utime(self._stamp)
        except FileNotFoundError:
            self._stamp.touch()
        except OSError:
            return 0  # then nothing counts as settled
        return self._stamp.stat().st_mtime_ns

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as problem:
            text = str(problem)
            hint: str | None
            if isinstance(problem, sqlite3.OperationalError) and "full" in text:
                hint = "free some space (`cogsmith cache prune` helps) or move the cache with `XDG_CACHE_HOME`"
            elif "readonly" in text or "unable to open" in text:
                hint = "check who owns the cache, or move it with `XDG_CACHE_HOME`"
            elif "locked" in text:
                hint = "another process has held it for a minute: wait for it, or end it"
            else:
                hint = f"remove `{self._path}`, its `-wal` and `-shm`: it is a cache, layers are then packed again"
            raise StoreError(f"could not use the index `{self._path}`: {text}", hint=hint) from problem


def _prepare(connection: sqlite3.Connection, *, path: Path, making: Path) -> None:
    version = connection.execute("pragma user_version").fetchone()[0]
    if version == 0:
        # SQLite does not wait for others while it changes the journal mode, so a lock of ours does.
        with disk.locked(making):
            version = connection.execute("pragma user_version").fetchone()[0]
            if version == 0:
                connection.execute("pragma journal_mode = wal")
                connection.executescript(f"begin immediate; {_SCHEMA} pragma user_version = {SCHEMA_VERSION}; commit;")
                version = SCHEMA_VERSION
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the cache `{path.parent}` was made by a newer cogsmith (index version {version}, this one knows"
            f" {SCHEMA_VERSION})",
            hint="upgrade cogsmith, or use another cache with `XDG_CACHE_HOME`",
        )
    connection.execute("pragma synchronous = normal")


def _hash(path: Path, stat: os.stat_result) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            if stat.st_size <= _SMALL:  # file_digest allocates a large buffer each time
                sha256 = hashlib.sha256(file.read()).hexdigest()
            else:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except OSError as problem:
        raise LayerError(f"could not read `{path}`: {(problem.strerror or '').lower()}") from problem
    before = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if before != (after.st_dev, after.st_ino, after.st_size, after.st_mtime_ns):
        raise LayerError(
            f"`{path}` changed while it was read",
            hint="build again when nothing writes to it, or name it in `.dockerignore`",
        )
    return sha256


def _settled(stat: os.stat_result, *, now: int) -> bool:
    # A write in the same clock tick as the last one leaves no trace in the times (git calls such entries racy), so
    # only files that were last written in an earlier tick are remembered; on coarse file systems, two seconds earlier.
    latest = max(stat.st_mtime_ns, stat.st_ctime_ns)
    coarse = stat.st_mtime_ns % _SECOND == 0 and stat.st_ctime_ns % _SECOND == 0
    return latest + (2 * _SECOND if coarse else 0) < now


def _signed(number: int) -> int:
    # SQLite's integers are signed; some file systems use all 64 bits of an inode number.
    return number - (1 << 64) if number >= 1 << 63 else number
