"""The first code of the isolated server process (see `http.py`): puts `sys.path` right and starts.

Run as a file with `-I -S`.  Argument 1 is the model's Python, which the worker is started with.
"""

from __future__ import annotations

import os
import sys

SDK = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> None:
    """Start the server; ends the process."""
    # COGSMITH_SERVER_PATH is for tests: elsewhere than in an image the server's packages lie elsewhere.
    packages = os.environ.get("COGSMITH_SERVER_PATH") or os.path.join(os.path.dirname(SDK), "server")
    sys.path[:0] = [SDK, packages]
    from cog.server.start import start

    sys.exit(start(sys.argv[2:], python=sys.argv[1], environment=dict(os.environ)))


if __name__ == "__main__":
    main()
