"""One connection of the webhook client: requests go out, the heads of answers come in.  Standard library only."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Dict, Optional, Tuple

HEAD_MAX = 1 << 16
"""Longest head of an answer, in bytes."""

DROP_MAX = 1 << 16
"""Longest body of an answer, in bytes, that is read to be able to use the connection again."""


class Connection(asyncio.Protocol):
    """Sends a request, reads one answer; may be used again if `reusable`."""

    def __init__(self) -> None:
        self.reusable = True
        self.answered = False
        """Some of an answer has come."""
        self.idle_since: Optional[float] = None
        """Since when nobody uses it, on the monotonic clock."""
        self._transport: Any = None
        self._received = bytearray()
        self._problem: Optional[Exception] = None
        self._closed = False
        self._paused = False
        self._waiter: Optional["asyncio.Future[None]"] = None

    async def send(self, data: bytes) -> None:
        """Write, and wait while the other side is behind.  ConnectionError if it is gone."""
        self.idle_since = None
        if self._closed and self._received:  # it has answered already and wants no more
            return
        self._check()
        self._transport.write(data)
        while self._paused:
            await self._wait()

    async def answer(self, *, tunnel: bool = False) -> Tuple[int, str]:
        """The status of the answer, and where it redirects to; informational ones (1xx) are skipped.

        `tunnel`: what follows the head is not HTTP.  ConnectionError or ValueError if there is none.
        """
        while True:
            status, version, headers = await self._head()
            if status >= 200 or status == 101:
                break
        if tunnel:
            return status, ""
        length = headers.get("content-length", "0" if status == 204 else "")
        keep = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        if not keep or not length.isdigit() or int(length) > DROP_MAX or "transfer-encoding" in headers:
            self.reusable = False
        else:
            while len(self._received) < int(length) and not self._closed:
                await self._wait()
            del self._received[: int(length)]
            self.reusable = not self._closed and not self._received
        return status, headers.get("location", "")

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on encrypted."""
        loop = asyncio.get_running_loop()
        self._transport = await loop.start_tls(self._transport, self, context, server_hostname=host)

    def abort(self) -> None:
        """Close it now."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """Of `asyncio.Protocol`."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Of `asyncio.Protocol`."""
        self.answered = True
        if self.idle_since is not None:
            self.reusable = False  # it speaks out of turn
        if len(self._received) < HEAD_MAX + DROP_MAX:
            self._received += data
        self._wake()

    def connection_lost(self, problem: Optional[Exception]) -> None:
        """Of `asyncio.Protocol`."""
        self._closed, self._problem, self.reusable, self._paused = True, problem, False, False
        self._wake()

    def pause_writing(self) -> None:
        """Of `asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """Of `asyncio.Protocol`."""
        self._paused = False
        self._wake()

    async def _head(self) -> Tuple[int, str, Dict[str, str]]:
        while True:
            end = self._received.find(b"\r\n\r\n")
            if end >= 0:
                break
            if len(self._received) > HEAD_MAX:
                raise ValueError("the head of the answer is too long")
            self._check()
            await self._wait()
        first, *lines = bytes(self._received[:end]).decode("latin-1").split("\r\n")
        del self._received[: end + 4]
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not code.isdigit():
            raise ValueError(f"not an answer of HTTP/1: {first[:100]!r}")
        pairs = (line.partition(":") for line in lines)
        return int(code), version, {name.strip().lower(): value.strip() for name, _, value in pairs}

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _check(self) -> None:
        if self._closed:
            raise ConnectionResetError(str(self._problem or "the connection was closed"))
