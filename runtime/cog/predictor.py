"""Loads the model that a reference such as `run.py:Runner` names.  Standard library only.

The contract is that of spec section 3.2: a class (made without arguments) or a function; exactly one of `run` and
`predict`; the folder of the project is importable.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import warnings
from types import ModuleType
from typing import Any, Callable

from cog.runner import BasePredictor, BaseRunner

_FRAMEWORK = (BaseRunner, BasePredictor, object)


def load_module(path: str) -> ModuleType:
    """Run the file `path` as a module named after it."""
    name = os.path.basename(path)
    name = name[:-3] if name.endswith(".py") else name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path!r} as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def load_predictor_from_ref(ref: str) -> Any:
    """The model of a reference: an instance of its class, or its function."""
    path, _, name = ref.partition(":")
    if not os.path.exists(path):
        raise FileNotFoundError(f"the model's file does not exist: {path}")
    module = load_module(path)
    if not name:
        name = next((candidate for candidate in ("Runner", "Predictor") if hasattr(module, candidate)), "")
        if not name:
            raise AttributeError(f"module {module.__name__!r} has no Runner or Predictor")
        if name == "Predictor":
            warnings.warn("the name Predictor is deprecated, use Runner", DeprecationWarning, stacklevel=2)
    target = getattr(module, name)
    return target() if inspect.isclass(target) else target


def run_method(model: Any) -> Callable[..., Any]:
    """The function that answers a prediction: `run` or `predict` of an object, or the function itself."""
    if inspect.isfunction(model):
        return model
    kind = type(model)
    name = kind.__name__
    has_run, has_predict = (_defines(kind, method) for method in ("run", "predict"))
    if has_run and has_predict:
        raise ValueError(f"{name} must define either run() or predict(), not both")
    if not has_run and not has_predict:
        raise ValueError(f"run or predict method not found: {name}")
    if has_predict:
        warnings.warn("predict() is deprecated, use run()", DeprecationWarning, stacklevel=2)
    method: Callable[..., Any] = model.run if has_run else model.predict
    return method


def train_method(model: Any) -> Callable[..., Any]:
    """The function that answers a training: a function, or the method `train` of an object."""
    if inspect.isfunction(model):
        return model
    method = getattr(model, "train", None)
    if not callable(method):
        raise ValueError(f"train method not found: {type(model).__name__}")
    function: Callable[..., Any] = method
    return function


def _defines(kind: type, method: str) -> bool:
    return any(method in vars(base) for base in kind.__mro__ if base not in _FRAMEWORK)
