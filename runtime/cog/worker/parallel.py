"""Several transfers at a time.  Standard library only."""

from __future__ import annotations

from typing import Callable, List, Sequence, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item], *, most: int) -> List[Result]:
    """`function` of each of `items`, up to `most` at a time, in their order.

    The first failure is raised at once, as is a cancel that arrives meanwhile: what has begun then is not waited for.
    """
    if len(items) <= 1:
        return [function(item) for item in items]
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(min(len(items), most))
    futures = [pool.submit(function, item) for item in items]
    try:
        ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in ended:
            future.result()
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        pool.shutdown(wait=False)
