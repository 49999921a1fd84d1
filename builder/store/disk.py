"""Files that appear whole or not at all, and the locks around them.  Knows nothing of images.

Every temporary file is locked (flock) by the process that writes it: a lock that can be taken means that the writer is
gone, whatever killed it and whichever process namespace it lived in.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.errors import StoreError
from builder.report import Report

PARTIAL = ".part"
"""Suffix of interrupted downloads in `tmp/`, which outlive their process so that they can be resumed."""

BUFFER = 1 << 20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_HINTS = {
    errno.ENOSPC: "free some space (`cogsmith cache prune` helps) or move the cache with `XDG_CACHE_HOME`",
    errno.EDQUOT: "your quota is used up: `cogsmith cache prune`, or move the cache with `XDG_CACHE_HOME`",
    errno.EROFS: "the file system is read-only: move the cache with `XDG_CACHE_HOME`",
    errno.EACCES: "check who owns the cache, or move it with `XDG_CACHE_HOME`",
    errno.EPERM: "check who owns the cache, or move it with `XDG_CACHE_HOME`",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
}
_OTHER = "see what is wrong with that file or disk, or move the cache with `XDG_CACHE_HOME`"
CHANGED = "something on the way or on the disk changes what is kept: try again, and look at the disk if it stays"
"""The hint for content that does not have the digest it was promised with."""


def hex_of(digest: str) -> str:
    """The hexadecimal part of a `sha256:` digest; `StoreError` if it is none, so that no digest can name a path."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise StoreError(
            f"`{digest}` is not a sha256 digest",
            hint="whatever names it is damaged, or uses another hash: make or pull it again",
        )
    return match[1]


def explained(problem: OSError, *, doing: str) -> StoreError:
    """The `StoreError` for a failed system call; `doing` completes "could not ..."."""
    return StoreError(
        f"could not {doing}: {(problem.strerror or str(problem)).lower()}",
        hint=_HINTS.get(problem.errno or 0, _OTHER),
    )


@contextlib.contextmanager
def explaining(doing: str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StoreError`."""
    try:
        yield
    except OSError as problem:
        raise explained(problem, doing=doing) from problem


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Hold a lock file for the block; `waiting` is called once if somebody else has it."""
    with explaining(f"lock `{path}`"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with explaining(f"lock `{path}`"):
            take(fd, shared=shared, waiting=waiting)
        yield fd
    finally:
        os.close(fd)


def take(fd: int, *, shared: bool = False, waiting: Callable[[], None] | None = None) -> None:
    """Lock an open file, waiting if need be."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is not None:
            waiting()
        fcntl.flock(fd, kind)


def note_once(report: Report | None, text: str) -> Callable[[], None] | None:
    """What `locked` calls when it has to wait."""
    return None if report is None else lambda: report.note(text)


class Writer(io.BufferedIOBase, typing.BinaryIO):
    """A file under a temporary name that `commit` moves to where its content says.

    Hashes what it is given, unless the caller does (`hashing=False`); leaves nothing behind unless committed.  Use it
    in a `with` block.
    """

    def __init__(self, tmp: Path, *, target: Callable[[str], Path], hashing: bool = True) -> None:
        self._target = target
        self._hashing = hashing
        self._hash = hashlib.sha256()
        self._size = 0
        self._moved = False
        with explaining(f"write to `{tmp}`"):
            self._path, self._file = _locked_new_file(tmp)

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: typing.Any, /) -> int:
        """Append bytes; `StoreError` on a full disk."""
        try:
            self._file.write(data)
        except OSError as problem:
            raise explained(problem, doing=f"write to `{self._path.parent}`") from problem
        if self._hashing:
            self._hash.update(data)
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        self._size += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def flush(self) -> None:
        """Nothing: only `commit` makes the file visible."""

    def commit(self, expected: str | None = None) -> tuple[str, int]:
        """Make the file appear under its digest and return digest and size in bytes.

        With `expected` (`sha256:...`), a different content is a `StoreError` and nothing appears.  A writer that does
        not hash takes the caller's word for it.
        """
        digest = f"sha256:{self._hash.hexdigest()}" if self._hashing else expected
        assert digest is not None, "the caller who hashes has to say the digest"
        if expected is not None and digest != expected:
            raise StoreError(
                "the content is not what it should be",
                details=f"expected {expected}\ngot      {digest}",
                hint=CHANGED,
            )
        target = self._target(digest)
        with explaining(f"write `{target}`"):
            if not has_size(target, size=self._size):
                self._file.flush()
                sync_file(self._file.fileno())
                self._path.rename(target)
                self._moved = True
        return digest, self._size

    def close(self) -> None:
        """Drop what was not committed."""
        if self.closed:
            return
        super().close()
        if not self._moved:
            self._path.unlink(missing_ok=True)
        # A full disk is reported by `write` and `commit`; here the rest of the buffer is of no interest.
        with contextlib.suppress(OSError):
            self._file.close()


def _locked_new_file(tmp: Path) -> tuple[Path, io.BufferedWriter]:
    while True:
        path = tmp / os.urandom(12).hex()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # Between open and flock another process may have taken the file for a leftover.
        if os.fstat(fd).st_nlink:
            return path, io.BufferedWriter(io.FileIO(fd, "wb"), BUFFER)
        os.close(fd)


class Partial:
    """A download under way: a locked file in `tmp/`, named by the sha256 it shall have; survives interruption."""

    def __init__(self, path: Path, *, fd: int) -> None:
        self._path = path
        self._file = io.FileIO(fd, "rb+")
        self._hash = hashlib.sha256()
        while chunk := self._file.read(BUFFER):
            self._hash.update(chunk)

    @property
    def size(self) -> int:
        """Bytes present."""
        return self._file.tell()

    def write(self, data: bytes) -> None:
        """Append; `StoreError` on a full disk."""
        with explaining(f"write `{self._path}`"):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
        self._hash.update(data)

    def restart(self) -> None:
        """Forget what is there."""
        with explaining(f"write `{self._path}`"):
            self._file.seek(0)
            self._file.truncate()
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hash (hex) of the bytes present."""
        return self._hash.hexdigest()

    def commit(self, target: Path) -> None:
        """Move to `target`, durably.  The caller has compared `sha256`."""
        with explaining(f"write `{target}`"):
            sync_file(self._file.fileno())
            self._path.rename(target)

    def discard(self) -> None:
        """Remove it."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Unlock; the bytes stay for the next attempt."""
        self._file.close()


@contextlib.contextmanager
def partial(tmp: Path, name: str, *, waiting: Callable[[], None] | None = None) -> Iterator[Partial]:
    """Open or create the partial download `name`; waits while another process works on it."""
    path = tmp / (name + PARTIAL)
    while True:
        with explaining(f"write `{path}`"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                take(fd, waiting=waiting)
                same = path.stat().st_ino == os.fstat(fd).st_ino
            except FileNotFoundError:
                same = False
            except BaseException:
                os.close(fd)
                raise
        if same:
            break
        os.close(fd)  # the process before us finished or dropped it
    held = Partial(path, fd=fd)
    try:
        yield held
    finally:
        held.close()


def leftovers(tmp: Path, *, partials: bool) -> Iterator[tuple[Path, int]]:
    """Temporary files and folders whose writer is gone, locked while they are yielded; `partials` includes downloads.

    The second of the pair is the open descriptor, for whoever needs the size.
    """
    for path in sorted(tmp.iterdir()):
        if path.suffix == PARTIAL and not partials:
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            yield path, fd
        finally:
            os.close(fd)


def remove(path: Path, *, remove_tree: Callable[[Path], None] | None = None) -> None:
    """Remove a file, or a folder by `remove_tree` (default: `shutil.rmtree`)."""
    if path.is_dir() and not path.is_symlink():
        if remove_tree is not None:
            remove_tree(path)
            return
        from shutil import rmtree

        rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked_new_folder(tmp: Path) -> Iterator[Path]:
    """A new folder, locked like a temporary file; removed at the end if it is still there and can be."""
    while True:
        path = tmp / os.urandom(12).hex()
        with explaining(f"write below `{tmp}`"):
            path.mkdir()
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        if path.exists():
            break
        os.close(fd)
    try:
        yield path
    finally:
        from shutil import rmtree

        rmtree(path, ignore_errors=True)
        os.close(fd)


def replace(path: Path, data: bytes, *, tmp: Path) -> None:
    """Write a small file in one step: readers see the old or the new content."""
    with explaining(f"write `{path}`"):
        temporary, file = _locked_new_file(tmp)
        try:
            with file:
                file.write(data)
                file.flush()
                sync_file(file.fileno())
                temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sync_file(fd: int) -> None:
    """Make the content of an open file durable; macOS has no `fdatasync`."""
    getattr(os, "fdatasync", os.fsync)(fd)


def sync_folder(path: Path) -> None:
    """Make the renames in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.EROFS):  # some network file systems do not know it
            raise
    finally:
        os.close(fd)


def has_size(path: Path, *, size: int) -> bool:
    """Whether a regular file of that size in bytes is there."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def tree_size(path: Path) -> int:
    """Bytes on disk below a folder; what cannot be read counts nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(folder) / name).lstat().st_blocks * 512
    return total
