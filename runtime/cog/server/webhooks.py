"""Tells a client's webhook what becomes of its prediction: in order, not too often, and the end of it for certain.

Standard library only.  Each prediction has at most one request under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set

from cog.server.answers import body_of
from cog.server.client import Client, URLError
from cog.server.console import Console
from cog.server.files import Part, json_parts
from cog.server.prediction import Prediction

RETRIES = 12
"""How often `completed` is sent again."""

RETRIED = frozenset((429, 500, 502, 503, 504))
"""Statuses after which sending again may help."""

PENDING_MAX = 20_000
"""Deliveries under way from which on nothing is sent again: an address that is down must not cost all memory."""

BACK_OFF = 0.1
"""Seconds before the first repetition; twice as many before each further one, up to 2**10 times."""


HANGING = 2.0
"""Seconds that a request about a prediction under way has left once that has ended: `completed` waits behind it."""


class Webhooks:
    """Makes deliveries and knows those under way.  `interval`: seconds between two `output` or `logs` requests."""

    def __init__(self, client: Client, *, console: Console, interval: float, token: Optional[str] = None) -> None:
        self._client = client
        self._console = console
        self._interval = interval
        self._token = token
        self._tasks: Set["asyncio.Task[None]"] = set()

    def attach(
        self,
        prediction: Prediction,
        *,
        url: str,
        events: Optional[Sequence[str]],
        trace: Mapping[str, str],
        release: Callable[[Prediction], None],
    ) -> bool:
        """Follow a prediction that has not begun; `events` None means all.

        `release` is called when nothing more will be sent; False if nothing ever will.
        """
        wanted = frozenset(("start", "output", "logs", "completed") if events is None else events)
        if not wanted:
            return False
        headers = {"Content-Type": "application/json", **trace}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        send = _Sender(
            self._client,
            url=url,
            headers=headers,
            console=self._console,
            name=prediction.id,
            patient=lambda: len(self._tasks) < PENDING_MAX,
        )
        delivery = _Delivery(prediction, wanted=wanted, send=send, interval=self._interval)

        def watch(kind: str, _: Any) -> None:
            if delivery.notice(kind) and not delivery.running:
                delivery.running = True
                task = asyncio.ensure_future(delivery.run())
                self._tasks.add(task)
                task.add_done_callback(ended)
            elif kind == "completed" and not delivery.running:
                release(prediction)

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            release(prediction)

        prediction.watchers.append(watch)
        return True

    async def drain(self, *, seconds: float) -> None:
        """Wait for the requests under way; what is not delivered in time is lost, aloud."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            if late:
                self._console.say(f"{len(late)} webhooks could not be delivered before the end", level="error")
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._client.close()


class _Sender:
    """Sends bodies to one address.  `patient` says whether there is room for sending again."""

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        headers: Dict[str, str],
        console: Console,
        name: str,
        patient: Callable[[], bool],
    ) -> None:
        self._client = client
        self._url = url
        self._headers = headers
        self._console = console
        self._name = name
        self._patient = patient

    async def once(self, parts: List[Part]) -> None:
        """Send something that may be lost."""
        with contextlib.suppress(asyncio.TimeoutError, OSError, ValueError, URLError):
            await self._client.post(self._url, parts, headers=self._headers)

    async def certainly(self, parts: List[Part]) -> None:
        """Send something that must arrive; said aloud if it does not."""
        for attempt in range(RETRIES + 1):
            if attempt and not self._patient():
                break
            if attempt:
                await asyncio.sleep(BACK_OFF * 2 ** min(attempt - 1, 10))
            try:
                status = await self._client.post(self._url, parts, headers=self._headers)
            except URLError as problem:
                self._lost(str(problem))
                return
            except (asyncio.TimeoutError, OSError, ValueError) as problem:
                reason = f"{type(problem).__name__}: {problem}"
                continue
            if status < 300:
                return
            reason = f"status {status}"
            if status not in RETRIED:
                break
        self._lost(reason)

    def _lost(self, reason: str) -> None:
        self._console.say(f"the webhook of prediction {self._name} was not delivered: {reason}", level="error")


class _Delivery:
    """What one prediction's webhook has still to be told."""

    def __init__(self, prediction: Prediction, *, wanted: "frozenset[str]", send: _Sender, interval: float) -> None:
        self._prediction = prediction
        self._wanted = wanted
        self._send = send
        self._interval = interval
        self._start: Optional[List[Part]] = None
        self._changed = False
        self._wake = asyncio.Event()
        self.running = False

    def notice(self, kind: str) -> bool:
        """Note an event; whether there is something to send."""
        if kind == "start":
            if "start" not in self._wanted:
                return False
            self._start = json_parts(self._prediction.snapshot())
        elif kind == "completed":
            self._wake.set()
            return "completed" in self._wanted or self._changed
        elif (kind == "output" and "output" in self._wanted) or (kind == "log" and "logs" in self._wanted):
            self._changed = True
        else:
            return False
        self._wake.set()
        return True

    async def run(self) -> None:
        """Send until the prediction has ended and its end was told."""
        if self._start is not None:
            await self._meanwhile(self._start)
        due = 0.0
        finished = self._prediction.finished
        while not finished.is_set():
            self._wake.clear()
            rest = due - time.monotonic()
            if self._changed and rest <= 0:
                self._changed = False
                due = time.monotonic() + self._interval
                await self._meanwhile(json_parts(self._prediction.snapshot()))
                continue
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), rest if self._changed else None)
        if "completed" in self._wanted:
            await self._send.certainly(body_of(self._prediction))
        elif self._changed:
            await self._send.once(body_of(self._prediction))

    async def _meanwhile(self, parts: List[Part]) -> None:
        """Send what may be lost; if nobody answers, it does not keep the end of the prediction waiting for long."""
        sending = asyncio.ensure_future(self._send.once(parts))
        finished = asyncio.ensure_future(self._prediction.finished.wait())
        try:
            await asyncio.wait((sending, finished), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((sending,), timeout=HANGING)
        finally:
            finished.cancel()
            if not sending.done():
                sending.cancel()
                await asyncio.wait((sending,))
