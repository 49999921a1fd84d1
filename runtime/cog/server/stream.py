"""A prediction's events for clients that follow it: server-sent events, kept so that a late client sees them too.

Standard library only.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from typing import Any, Callable, Deque, List, Optional, Set

from cog.server.files import Part, encode_json, json_parts

SUBSCRIBERS_MAX = 1024
"""How many may follow one prediction."""

BACKLOG_MAX = 65_536
"""Events that may wait for a client that reads slowly; one more and it is told that it has lost some."""

KEEP_ALIVE = 15.0
"""Seconds without an event after which a comment is sent, so that proxies keep the connection."""


class Stream:
    """The events of one prediction.  `history` of them are kept for those who come later; 0 keeps none.

    `completed` gives the data of the last event when it comes.
    """

    def __init__(self, *, history: int, completed: Callable[[], List[Part]]) -> None:
        self._history: Deque[List[Part]] = collections.deque(maxlen=history)
        self._completed = completed
        self._count = 0
        self._closed = False
        self._keeps = history > 0
        self.subscribers: Set["Subscriber"] = set()

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return sum(200 + sum(len(part) for part in parts if isinstance(part, bytes)) for parts in self._history)

    @property
    def full(self) -> bool:
        """No more may follow."""
        return len(self.subscribers) >= SUBSCRIBERS_MAX

    def publish(self, kind: str, data: Any) -> None:
        """An event, as the watcher of a prediction is told of it."""
        if kind == "completed":
            parts = _event(kind, self._completed())
            self._closed = True
            self._completed = list  # no circle with the prediction
        else:
            try:
                parts = _event(kind, [encode_json(data)])
            except TypeError:  # files in it
                parts = _event(kind, json_parts(data))
        self._count += 1
        self._history.append(parts)
        for subscriber in self.subscribers:
            subscriber.put(parts, last=self._closed)

    def subscribe(self) -> "Subscriber":
        """Follow from the first event that is still known."""
        subscriber = Subscriber()
        if self._keeps:
            lost = self._count - len(self._history)
            if lost:
                text = "SSE stream replay truncated; events were dropped"
                subscriber.put(error_event(text, lost), last=True)
                return subscriber
            for index, parts in enumerate(self._history, 1):
                subscriber.put(parts, last=self._closed and index == len(self._history))
        if self._closed:
            subscriber.put([], last=True)
            return subscriber
        self.subscribers.add(subscriber)
        return subscriber

    def end(self) -> None:
        """Nothing will come."""
        self._closed = True
        for subscriber in self.subscribers:
            subscriber.close()

    def unsubscribe(self, subscriber: "Subscriber") -> None:
        """The client has all, or is gone."""
        self.subscribers.discard(subscriber)


class Subscriber:
    """One client's place in a stream."""

    def __init__(self) -> None:
        self._waiting: Deque[List[Part]] = collections.deque()
        self._lost = 0
        self._last = False
        self._arrived: Optional["asyncio.Future[None]"] = None

    def put(self, parts: List[Part], *, last: bool) -> None:
        """One more event; `last`: the client has all then."""
        if len(self._waiting) >= BACKLOG_MAX:
            self._lost += 1
        else:
            self._waiting.append(parts)
        self._last = self._last or last
        self.wake()

    def close(self) -> None:
        """Nothing more is wanted."""
        self._waiting.clear()
        self._last = True
        self.wake()

    def wake(self) -> None:
        """End the waiting of `next`."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def next(self) -> Optional[List[Part]]:
        """The next event, or a comment after `KEEP_ALIVE` seconds without; None when there are no more."""
        if not self._waiting and not self._last:
            loop = asyncio.get_running_loop()
            self._arrived = loop.create_future()
            timer = loop.call_later(KEEP_ALIVE, self.wake)
            with contextlib.suppress(asyncio.InvalidStateError):
                await self._arrived
            timer.cancel()
        if self._waiting:
            return self._waiting.popleft()
        if self._lost:
            lost, self._lost, self._last = self._lost, 0, True
            return error_event("SSE stream lagged; events were dropped", lost)
        return None if self._last else [b": keep-alive\n\n"]


def error_event(text: str, skipped: int) -> List[Part]:
    """The event that says that a client cannot have all."""
    return _event("error", [encode_json({"error": text, "skipped": skipped})])


def _event(kind: str, data: List[Part]) -> List[Part]:
    first = b"event: %s\ndata: " % kind.encode()
    if len(data) == 1 and isinstance(data[0], bytes):
        return [b"%s%s\n\n" % (first, data[0])]
    return [first, *data, b"\n\n"]
