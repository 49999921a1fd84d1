"""`python -m builder.cli` is `cogsmith`."""

from builder.cli import main

main()
