"""Members in, the bytes of a layer out: the one place where a layer's blob comes into being.

Streams, in bounded memory whatever the layer's size.  The bytes depend on the members, the compression and the codec;
never on the number of threads.
"""

from __future__ import annotations

import collections
import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, assert_never

from builder.errors import LayerError
from builder.frozen import frozen
from builder.layers.content import Content, Data, Deflated, FileSlice, Spooled
from builder.layers.gzip import HEADER, INLINE_MAX, Splicer, trailer
from builder.layers.reader import PIECE, Reader, crc32, is_small
from builder.layers.tar import END, Member, arrange, header, padding

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

FRAME = 1 << 20
"""Bytes of tar in each gzip member of a compressed layer: 0.2 % larger than with 16 MiB, and better to share."""

ZSTD_FRAME = 4 << 20
"""Bytes of tar in each zstd frame: 0.5 % larger than with 16 MiB, 2 % smaller than with 1 MiB."""

BATCH = 256 << 10
"""Small pieces are gathered to this many bytes before they are hashed and written: calls cost more than bytes."""

LARGE = 32 << 10
"""A piece of this size is not copied to be gathered."""

QUEUED = 8
"""Pieces that may wait for a hashing thread; bounds memory."""


class Codec(Protocol):
    """A compressor, whole input to whole output, safe to call from threads; made by `builder.codec`."""

    def deflate(self, data: bytes) -> bytes:
        """`data` as one raw deflate stream."""

    def zstd(self, data: bytes) -> bytes:
        """`data` as one zstd frame."""


class Output(Protocol):
    """Where the blob goes; need not be seekable."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


@frozen
class Packed:
    """A finished layer: `digest` of the blob and `diff_id` of the tar in it (`sha256:...`), `size` of the blob."""

    digest: str
    diff_id: str
    size: int


def write_layer(
    members: Iterable[Member],
    *,
    out: Output,
    codec: Codec,
    compression: str,
    epoch: int,
    compress: bool = False,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Packed:
    """Write a layer of `members` to `out`.

    `compression` is `gzip`, `plain` or `zstd`.  With gzip, `compress` says whether content goes through the codec, in
    members of `FRAME` bytes, or keeps the deflate streams that it comes with and is stored otherwise.  `epoch` is the
    time of parent directories that had to be added.  `progress` is told how many bytes of tar are done, now and then.
    Raises `LayerError` where members contradict each other, or content is not what they promise.
    """
    ordered = arrange(members, epoch=epoch)

    def fill(body: _Body, tar: _Gathered) -> None:
        with Reader() as reader:
            _write_tar(ordered, body=body, tar=tar, reader=reader, progress=progress)

    return _packed(fill, out=out, codec=codec, compression=compression, compress=compress, threads=threads)


def write_packed(tar: Iterable[bytes], *, out: Output, codec: Codec, compression: str, threads: int = 1) -> Packed:
    """Write a layer of a tar that `write_tar` made elsewhere, piece by piece, all of it through the codec.

    The same bytes as `write_layer` of the same members with `compress`, however long the pieces are; those of
    `piece_size` are quickest.
    """

    def fill(body: _Body, hashed: _Gathered) -> None:
        for piece in tar:
            hashed.add(piece)
            body.store(piece)

    return _packed(fill, out=out, codec=codec, compression=compression, compress=True, threads=threads)


def piece_size(compression: str) -> int:
    """Bytes of tar that are compressed together."""
    return ZSTD_FRAME if compression == "zstd" else FRAME


def write_tar(members: Iterable[Member], *, out: Output) -> None:
    """Write the tar of members that are in a layer's order already (`arrange`), uncompressed and not hashed."""
    pending = bytearray()
    with Reader() as reader:
        for member in members:
            pending += header(member)
            if member.content is not None:
                for piece in _pieces(member.content, reader=reader, label=member.path):
                    if len(pending) + len(piece) > BATCH:
                        out.write(bytes(pending))
                        pending.clear()
                    pending += piece
            pending += padding(member.size)
    out.write(bytes(pending) + END)


def _packed(
    fill: Callable[[_Body, _Gathered], None],
    *,
    out: Output,
    codec: Codec,
    compression: str,
    compress: bool,
    threads: int,
) -> Packed:
    digest, diff_id = _hashers(threads)
    size = 0

    def write(data: bytes) -> None:
        nonlocal size
        out.write(data)
        digest.update(data)
        size += len(data)

    blob, tar = _Gathered(write), _Gathered(diff_id.update)
    body: _Body
    if compression == "plain":
        body = _Plain(blob.add)
    elif compression == "zstd":
        body = _Frames(blob.add, encode=codec.zstd, cut=ZSTD_FRAME, threads=threads)
    elif compression == "gzip" and compress:
        body = _Frames(blob.add, encode=lambda data: _gzip_member(data, codec=codec), cut=FRAME, threads=threads)
    elif compression == "gzip":
        body = Splicer(blob.add)
    else:
        raise LayerError(f"there is no layer compression `{compression}`", hint="use gzip, plain or zstd")
    try:
        fill(body, tar)
        body.close()
        tar.flush()
        blob.flush()
    except BaseException:
        body.abandon()
        raise
    finally:
        digest.close()
        diff_id.close()
    return Packed(digest=f"sha256:{digest.hexdigest()}", diff_id=f"sha256:{diff_id.hexdigest()}", size=size)


def _write_tar(
    members: Iterable[Member],
    *,
    body: _Body,
    tar: _Gathered,
    reader: Reader,
    progress: Callable[[int], None] | None,
) -> None:
    done = told = 0

    def store(data: bytes) -> None:
        tar.add(data)
        body.store(data)

    fill = b""
    for member in members:
        store(fill + header(member))
        content = member.content
        if (content is not None) != (member.type == "file"):
            raise LayerError(f"`/{member.path}` is a {member.type}, and content is for files only")
        if isinstance(content, Deflated) and isinstance(body, Splicer) and content.size > INLINE_MAX:
            if is_small(content):
                raw, data = reader.inflate_small(content, label=member.path)
                tar.add(data)
                body.splice_whole(raw, data)
            else:
                for raw, data in reader.inflate(content, label=member.path):
                    tar.add(data)
                    body.splice(raw, data)
                body.end_splice()
        elif content is not None:
            for piece in _pieces(content, reader=reader, label=member.path):
                store(piece)
        fill = padding(member.size)
        done += member.size
        if progress and done - told >= PIECE:
            progress(done)
            told = done
    store(fill + END)


def _pieces(content: Content, *, reader: Reader, label: str) -> Iterator[bytes]:
    match content:
        case Data():
            yield content.data
        case FileSlice():
            yield from reader.slices(content, label=label)
        case Deflated():
            for _, data in reader.inflate(content, label=label):
                yield data
        case Spooled():
            yield from reader.spooled(content, label=label)
        case _:
            assert_never(content)


def _gzip_member(data: bytes, *, codec: Codec) -> bytes:
    return HEADER + codec.deflate(data) + trailer(crc32(data, 0), len(data))


class _Plain:
    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.store = write

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _Frames:
    """Cuts the tar into frames of `cut` bytes and encodes them in threads, written in order."""

    def __init__(
        self, write: Callable[[bytes], None], *, encode: Callable[[bytes], bytes], cut: int, threads: int
    ) -> None:
        self._write = write
        self._encode = encode
        self._cut = cut
        self._pending = bytearray()
        self._ahead = 2 * threads if threads > 1 else 0
        self._pool: ThreadPoolExecutor | None = None
        if threads > 1:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(max_workers=threads)
        self._queue: collections.deque[Future[bytes]] = collections.deque()

    def store(self, data: bytes) -> None:
        if len(data) == self._cut and not self._pending:  # as it comes from `write_packed`: not copied
            self._encode_one(data)
            return
        start = 0
        while start < len(data):
            piece = data[start : start + self._cut - len(self._pending)]
            self._pending += piece
            start += len(piece)
            if len(self._pending) == self._cut:
                self._submit()

    def close(self) -> None:
        if self._pending:
            self._submit()
        self._drain(0)
        self.abandon()

    def abandon(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        data = bytes(self._pending)
        self._pending.clear()
        self._encode_one(data)

    def _encode_one(self, data: bytes) -> None:
        if self._pool is None:
            self._write(self._encode(data))
            return
        self._queue.append(self._pool.submit(self._encode, data))
        self._drain(self._ahead)

    def _drain(self, leave: int) -> None:
        while len(self._queue) > leave:
            self._write(self._queue.popleft().result())


_Body = Splicer | _Plain | _Frames


class _Gathered:
    """Hands many small pieces on as few large ones."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        size = len(data)
        if size >= LARGE:
            self.flush()
            self._take(data)
            return
        self._pieces.append(data)
        self._size += size
        if self._size >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand on what is left."""
        if self._pieces:
            self._take(b"".join(self._pieces))
            self._pieces.clear()
            self._size = 0


class _Hasher:
    """sha256 of pieces."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.update: Callable[[bytes], None] = self._sha256.update

    def close(self) -> None:
        """No more will come."""

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


class _ThreadedHasher(_Hasher):
    """The same in a thread of its own: hashing releases the GIL."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: queue.Queue[bytes | None] = queue.Queue(maxsize=QUEUED)
        self.update = self._queue.put
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (data := self._queue.get()) is not None:
            self._sha256.update(data)


def _hashers(threads: int) -> tuple[_Hasher, _Hasher]:
    """For the blob and for the tar: on threads of their own where there is more than one."""
    return (_ThreadedHasher(), _ThreadedHasher()) if threads > 1 else (_Hasher(), _Hasher())
