"""Loads the model that a reference such as `run.py:Runner` names.  Standard library only.

The contract is Cog's: a class (made without arguments) or a function; exactly one of `run` and
`predict`; the folder of the project is importable.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import warnings
from types import ModuleType
from typing import Any, Callable, Optional

from cog.runner import BasePredictor, defines


def load_module(path: str) -> ModuleType:
    """Run the file `path` as a module named after it, if that has not been done: its classes must be the same ones."""
    path = os.path.abspath(path)
    name = os.path.basename(path)
    name = name[:-3] if name.endswith(".py") else name
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == path:
        return known
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


def load_target(ref: str) -> Any:
    """What a reference names, as it stands in its module: a class or a function.

    Without a name it is `Runner`, else `Predictor`.  FileNotFoundError, AttributeError or ValueError if there is none.
    """
    path, _, name = ref.partition(":")
    if not os.path.exists(path):
        raise FileNotFoundError(f"the model's file does not exist: {path}")
    module = load_module(path)
    return getattr(module, name or _default_name(module))


def load_predictor_from_ref(ref: str) -> Any:
    """The model of a reference: an instance of its class, or its function."""
    target = load_target(ref)
    if not inspect.isclass(target):
        return target
    check_runner(target)
    return target()


def check_runner(kind: type) -> None:
    """ValueError unless a class defines exactly one of `run` and `predict`; warns of what is old in it."""
    name = kind.__name__
    has_run, has_predict = defines(kind, "run"), defines(kind, "predict")
    if has_run and has_predict:
        raise ValueError(f"{name} must define either run() or predict(), not both")
    if not has_run and not has_predict:
        raise ValueError(f"run or predict method not found: {name}")
    if has_predict:
        warnings.warn(f"{name}.predict() is deprecated; use run() instead", DeprecationWarning, stacklevel=3)
    if BasePredictor in kind.__mro__[1:]:
        warnings.warn("BasePredictor is deprecated; use BaseRunner instead", DeprecationWarning, stacklevel=3)


def run_method(model: Any) -> Callable[..., Any]:
    """The function that answers a prediction: `run` or `predict` of an object, or the function itself."""
    if inspect.isroutine(model):
        return model
    for name in ("run", "predict"):
        if defines(type(model), name):
            method: Callable[..., Any] = getattr(model, name)
            return method
    raise ValueError(f"run or predict method not found: {type(model).__name__}")


def train_method(model: Any) -> Callable[..., Any]:
    """The function that answers a training: a function, or the method `train` of an object."""
    if inspect.isroutine(model):
        return model
    method = getattr(model, "train", None)
    if not callable(method):
        raise ValueError(f"train method not found: {type(model).__name__}")
    function: Callable[..., Any] = method
    return function


def _default_name(module: ModuleType) -> str:
    runner = getattr(module, "Runner", None)
    problem = _why_not(runner)
    if problem is None:
        if hasattr(module, "Predictor"):
            text = "Both Runner and Predictor are defined; using Runner. Name the class if that is not meant."
            warnings.warn(text, UserWarning, stacklevel=4)
        return "Runner"
    if hasattr(module, "Predictor"):
        warnings.warn("Predictor is deprecated; use Runner instead", DeprecationWarning, stacklevel=4)
        return "Predictor"
    if runner is not None:
        raise problem
    raise AttributeError(f"module {module.__name__!r} has no Runner or Predictor")


def _why_not(runner: Any) -> Optional[Exception]:
    """What is wrong with something called `Runner`; None if it can be served."""
    if not inspect.isclass(runner):
        return None if callable(runner) else TypeError("Runner exists but is not a class or callable")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_runner(runner)
    except ValueError as problem:
        return problem
    return None
