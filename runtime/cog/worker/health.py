"""Asks a model's `healthcheck`, beside the predictions that run.  Standard library and the SDK only.

At most one runs at a time: questions that come while one hangs wait for its answer, so a check that never ends costs
one thread.
"""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from cog.worker.capture import NOBODY, PREDICTION
from cog.worker.protocol import CHECK_LIMIT, Check, Checked
from cog.worker.run import brief

if TYPE_CHECKING:
    import asyncio


class Healthcheck:
    """The check `function`; `loop` is where it runs if it is asynchronous, None for one of its own."""

    def __init__(
        self,
        function: Callable[[], Any],
        *,
        send: Callable[[Any], None],
        loop: Optional[asyncio.AbstractEventLoop] = None,
        limit: float = CHECK_LIMIT,
    ) -> None:
        self._function = function
        self._send = send
        self._loop = loop
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: Dict[int, threading.Timer] = {}
        self._busy = False

    def ask(self, check: Check) -> None:
        """Answer `check` by a `Checked`, from another thread, within the limit (in seconds)."""
        late = f"Healthcheck failed: user-defined healthcheck timed out after {self._limit} seconds"
        timer = threading.Timer(self._limit, self._answer, ([check.id], late))
        timer.daemon = True
        with self._lock:
            self._waiting[check.id] = timer
            start, self._busy = not self._busy, True
        timer.start()
        if start:
            threading.Thread(target=self._run, name="cog-healthcheck", daemon=True).start()

    def _run(self) -> None:
        PREDICTION.set(NOBODY)
        error: Optional[str]
        try:
            error = self._ask()
        except BaseException as problem:  # noqa: BLE001  # sys.exit included
            error = f"Healthcheck failed: {brief(problem)}"
        with self._lock:
            self._busy = False
            waiting = list(self._waiting)
        self._answer(waiting, error)

    def _ask(self) -> Optional[str]:
        result = self._function()
        if inspect.isawaitable(result):
            result = self._awaited(result)
        # Models that forget the return mean well.
        if result is None or result:
            return None
        return "Healthcheck failed: user-defined healthcheck returned False"

    def _awaited(self, result: Any) -> Any:
        import asyncio

        async def wait() -> Any:
            PREDICTION.set(NOBODY)
            try:
                return await result, None
            except BaseException as problem:  # noqa: BLE001  # sys.exit must not end the loop
                return None, problem

        if self._loop is None:
            value, problem = asyncio.run(wait())
        else:
            value, problem = asyncio.run_coroutine_threadsafe(wait(), self._loop).result()
        if problem is not None:
            raise problem
        return value

    def _answer(self, checks: List[int], error: Optional[str]) -> None:
        for check in checks:
            with self._lock:
                timer = self._waiting.pop(check, None)
            if timer is None:
                continue
            timer.cancel()
            try:
                self._send(Checked(check, error))
            except OSError:  # the server is gone
                return
