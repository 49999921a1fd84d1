"""Errors of loading a model.  Standard library only."""

from __future__ import annotations


class CogError(Exception):
    """Any error of the SDK."""


class ConfigDoesNotExist(CogError):  # noqa: N818  # the name is the interface
    """There is no `cog.yaml`."""


class PredictorNotSet(CogError):  # noqa: N818  # the name is the interface
    """The project names no model."""
