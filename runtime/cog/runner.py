"""The base classes of models.  Standard library only."""

from __future__ import annotations

import warnings
from typing import Any, Optional

from cog.scope import Scope, current_scope


class BaseRunner:
    """A model: `setup` runs once when the container starts, `run` once for each prediction.

    Both may be `async def`; `run` may be a generator.
    """

    def setup(self, weights: Any = None) -> Any:
        """Load the model.  `weights`, if declared, is the environment's `COG_WEIGHTS` or None."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one prediction.  A model that defines `predict` answers with that."""
        if defines(type(self), "predict") and not defines(type(self), "run"):
            return self.predict(*args, **kwargs)
        raise NotImplementedError("run has not been implemented by parent class.")

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """The old name of `run`."""
        name = type(self).__name__
        warnings.warn(f"{name}.predict() is deprecated; use run() instead", DeprecationWarning, stacklevel=2)
        return self.run(*args, **kwargs)

    @property
    def scope(self) -> Scope:
        """The prediction that runs now."""
        return current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """Attach a number, string or list to the prediction that runs now (see `Scope.record_metric`)."""
        current_scope().record_metric(key, value, mode=mode)


class BasePredictor(BaseRunner):
    """The old name of `BaseRunner`, for models that define `predict`."""


class Predictor(BaseRunner):
    """The base class of 2021, whose inputs `@cog.input` declares on `predict`."""


class Model(BaseRunner):
    """The first base class of all, whose inputs `@cog.input` declares on `run`."""


FRAMEWORK = (BaseRunner, BasePredictor, Predictor, Model, object)
"""Classes whose methods are not a model's own."""


def defines(kind: type, method: str) -> bool:
    """Whether a class or one that it inherits from, up to our own, has such a method."""
    return owner(kind, method) is not None


def owner(kind: type, method: str) -> Optional[type]:
    """The class that has it.  What comes after our own base in the order of inheritance does not count."""
    for base in kind.__mro__:
        if base in FRAMEWORK:
            return None
        if callable(vars(base).get(method)):
            return base
    return None
