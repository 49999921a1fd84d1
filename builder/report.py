"""How work tells of itself, without knowing who listens.  Imports nothing of ours; prints nothing."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Receives what a person watching would want to know.  Implementations must be safe to call from threads."""

    def note(self, text: str) -> None:
        """Tell one thing in one line."""

    def warn(self, text: str) -> None:
        """Tell one thing that the user may want to change."""

    def advance(self, label: str, done: int, total: int) -> None:
        """`label` has come to `done` of `total` bytes (`total` 0: unknown); called often, last with `done == total`."""


class Quiet:
    """A report that nobody reads."""

    def note(self, text: str) -> None:
        """Drop it."""

    def warn(self, text: str) -> None:
        """Drop it."""

    def advance(self, label: str, done: int, total: int) -> None:
        """Drop it."""
