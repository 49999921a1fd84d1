"""Requests whose head has no end: refused with 431, where httptools would keep all of it in memory.

uvicorn bounds the head for h11 only.  Knows its protocol of httptools by its shape; any other is left as it is.
"""

from __future__ import annotations

from typing import Any

LIMIT = 1 << 16
"""Bytes of a head, besides those that came with its first; uvicorn's limit where it has one."""

REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 32\r\nconnection: close\r\n\r\n"
    b"The request's head is too large\n"
)


def bounded(protocol: Any) -> Any:
    """The `protocol` of uvicorn, whose requests may have a head of about `LIMIT` bytes."""
    if not hasattr(protocol, "on_headers_complete"):
        return protocol

    class Bounded(protocol):  # type: ignore[misc]
        begun = False
        """Within a head, since an earlier piece."""
        head = 0

        def on_message_begin(self) -> None:
            self.begun, self.head = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.begun = False
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            if self.begun:
                self.head += len(data)
            super().data_received(data)
            if self.begun and self.head > LIMIT and not self.transport.is_closing():
                if self.cycle is None or self.cycle.response_complete:
                    self.transport.write(REFUSAL)
                self.transport.close()

    return Bounded
