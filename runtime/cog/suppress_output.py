"""`suppress_output()`: silence a piece of code, C libraries included.  Standard library only."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Iterator


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    """Send file descriptors 1 and 2, and Python's own streams, to `/dev/null` while the block runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(os.devnull, "w") as null, contextlib.ExitStack() as undo:
        for number in (1, 2):
            kept = os.dup(number)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, number)
            os.dup2(null.fileno(), number)
        with contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            yield
