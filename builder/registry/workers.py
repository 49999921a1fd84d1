"""Work on several things at once, in threads that an interrupt does not wait for: a stalled registry may hold one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that the others get to notice that one has failed."""


def in_parallel(work: Callable[[T], None], items: Sequence[T], *, parallel: int, stop: threading.Event) -> None:
    """Do `work` for all items, in their order.  The first failure, or an interrupt, sets `stop` and is raised."""
    todo: queue.SimpleQueue[T] = queue.SimpleQueue()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def run() -> None:
        try:
            while not stop.is_set():
                work(todo.get_nowait())
        except queue.Empty:
            ended.put(None)
        except BaseException as problem:  # noqa: BLE001 - it is raised where the work was asked for
            ended.put(problem)
        else:
            ended.put(None)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(parallel, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            problem = ended.get()
            if problem is not None:
                raise problem
    except Exception:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        raise
    except BaseException:
        stop.set()
        raise
