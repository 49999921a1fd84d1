"""The base classes of models.  Standard library only."""

from __future__ import annotations

import warnings
from typing import Any

from cog.scope import Scope, current_scope


class BaseRunner:
    """A model: `setup` runs once when the container starts, `run` once for each prediction.

    Both may be `async def`; `run` may be a generator.
    """

    def setup(self, weights: Any = None) -> Any:
        """Load the model.  `weights`, if declared, is the environment's `COG_WEIGHTS` or None."""

    def run(self, **inputs: Any) -> Any:
        """Answer one prediction."""
        raise NotImplementedError(f"{type(self).__name__} must define run()")

    def predict(self, **inputs: Any) -> Any:
        """The old name of `run`."""
        warnings.warn("predict() is deprecated, use run()", DeprecationWarning, stacklevel=2)
        return self.run(**inputs)

    @property
    def scope(self) -> Scope:
        """The prediction that runs now."""
        return current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Attach a number, string or list to the prediction that runs now (see `Scope.record_metric`)."""
        current_scope().record_metric(key, value, mode=mode)


class BasePredictor(BaseRunner):
    """The old name of `BaseRunner`, for models that define `predict`."""
