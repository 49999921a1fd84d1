"""`python -m cog.server.http`: the command of every image.

It is started by the model's Python.  It goes on as the same process in the base interpreter, isolated: the server sees
the standard library, its own packages and this SDK, whatever the model has installed.  Imports as little as possible.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Become the server; does not return."""
    python = sys.executable
    base = getattr(sys, "_base_executable", None) or python
    boot = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
    os.execv(base, [base, "-I", "-S", boot, python, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
