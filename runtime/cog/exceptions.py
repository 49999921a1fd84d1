"""Exceptions and warnings that a model may want to name.  Standard library only."""

from __future__ import annotations


class CancelationException(BaseException):  # the name is the interface
    """Raised inside a running prediction that was canceled; clean up and let it pass."""


class ExperimentalFeatureWarning(FutureWarning):
    """Marks a feature that may change."""
