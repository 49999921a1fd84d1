"""Layer blobs as gzip: members with a fixed header that hold stored blocks, a spliced deflate stream, or both.

Compresses nothing itself (docs/layer-format.md, "gzip").  Pure but for the `write` it is handed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from builder.layers.reader import crc32

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952: deflate, no flags, no time, no extra flags, unknown system."""

STORED_MAX = 0xFFFF
"""Most bytes in one stored block (RFC 1951, 3.2.4)."""

INLINE_MAX = 1024
"""A deflated file of at most this size is stored, not spliced.

A constant of the layer format.  A splice costs a member (23 bytes with its block); readers that stream do not mind
members (gzip, Python, skopeo, umoci: between a thousand and twelve thousand of them no difference could be measured),
but some take time that grows with their square.  At 1024 a fifth of torch's members go for 0.4 % of its size; at 4096
three quarters for 4 %, which is more to pull everywhere, always, than it saves those few.
"""


def trailer(crc: int, size: int) -> bytes:
    """The end of a member whose content has CRC-32 `crc` and `size` bytes."""
    return struct.pack("<II", crc, size & 0xFFFFFFFF)


def stored_block(data: bytes, *, final: bool) -> bytes:
    """A stored block of at most `STORED_MAX` bytes, starting and ending on whole bytes."""
    return struct.pack("<BHH", final, len(data), len(data) ^ 0xFFFF) + data


class Splicer:
    """Writes a gzip stream in which deflate streams that exist already are used as they are.

    A member holds stored blocks (of `STORED_MAX` bytes each but for the last), and after them at most one spliced
    stream, which ends it.  A deflate stream never looks back beyond its own start, so what precedes it in the member
    does not matter to it.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._pending = bytearray()
        self._crc = 0
        self._size = 0
        self._begun = False

    def store(self, data: bytes) -> None:
        """Add bytes that are not deflated."""
        self._crc = crc32(data, self._crc)
        self._size += len(data)
        self._pending += data
        if len(self._pending) > STORED_MAX:
            self._flush(keep=1)

    def splice_whole(self, raw: bytes, data: bytes) -> None:
        """Add a whole deflate stream, and what it inflates to: `splice` and `end_splice`, in one write."""
        pending = bytes(self._pending)
        if self._begun or len(pending) > STORED_MAX:
            self.splice(raw, data)
            self.end_splice()
            return
        head = HEADER + stored_block(pending, final=False) if pending else HEADER
        end = trailer(crc32(data, self._crc), self._size + len(data))
        self._write(b"".join((head, raw, end)))
        self._pending.clear()
        self._crc = self._size = 0

    def splice(self, raw: bytes, data: bytes) -> None:
        """Add a piece of a deflate stream, and what it inflates to."""
        self._flush(keep=0)
        self._begin()
        self._crc = crc32(data, self._crc)
        self._size += len(data)
        self._write(raw)

    def end_splice(self) -> None:
        """The deflate stream is complete."""
        self._end()

    def close(self) -> None:
        """End the last member."""
        if self._pending:
            self._begin()
            self._write(stored_block(bytes(self._pending), final=True))
            self._pending.clear()
            self._end()

    def abandon(self) -> None:
        """Nothing needs to be released."""

    def _begin(self) -> None:
        if not self._begun:
            self._write(HEADER)
            self._begun = True

    def _end(self) -> None:
        self._write(trailer(self._crc, self._size))
        self._crc, self._size, self._begun = 0, 0, False

    def _flush(self, *, keep: int) -> None:
        # Write what is pending as blocks that are not final; `keep` leaves that many bytes for a final one.
        start = 0
        while len(self._pending) - start >= STORED_MAX + keep or (not keep and start < len(self._pending)):
            self._begin()
            block = bytes(self._pending[start : start + STORED_MAX])
            self._write(stored_block(block, final=False))
            start += len(block)
        if start:
            del self._pending[:start]
