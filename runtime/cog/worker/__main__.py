"""`python -m cog.worker`: see `cog.worker.main`."""

from __future__ import annotations

from cog.worker.main import main

main()
