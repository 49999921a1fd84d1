"""Makes the trace of a request (W3C `traceparent`) known to OpenTelemetry, where the model's environment has it.

Spans that the model makes during a prediction are then children of the caller's.  Nothing is exported here: that is up
to the provider that the model sets up.  Standard library only.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Optional


def follow(context: Dict[str, str]) -> Optional[Callable[[], Any]]:
    """Make the trace of `context` the current one; what it gives ends that.  None if there is no trace to follow."""
    if "traceparent" not in context:
        return None
    attach = _attach()
    return attach(context) if attach is not None else None


@functools.lru_cache(maxsize=None)
def _attach() -> Optional[Callable[[Dict[str, str]], Callable[[], Any]]]:
    try:
        from opentelemetry.context import attach, detach
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except Exception:  # noqa: BLE001  # absent, or of an age that has none of it
        return None
    propagator = TraceContextTextMapPropagator()
    return lambda context: functools.partial(detach, attach(propagator.extract(context)))
