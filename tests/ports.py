"""Ports of loopback that are a test's own for as long as it needs them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that the kernel gives nobody else meanwhile, neither to a listener nor to a connection.

    It is bound here, without listening: a server that asks for it by number, with SO_REUSEADDR as servers do, gets it,
    and while none has, connections are refused.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
