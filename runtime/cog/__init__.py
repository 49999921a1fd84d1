"""What a model imports as `cog`.  Standard library only, CPython 3.8 and later; imports nothing of the builder.

Names are loaded when they are first used (PEP 562), so `import cog` costs next to nothing.
"""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # as type checkers read it; `typing` itself is slow to import

__version__ = "0.1.0"

_HOME = {
    "AsyncConcatenateIterator": "cog.iterators",
    "BaseModel": "cog.model",
    "BasePredictor": "cog.runner",
    "BaseRunner": "cog.runner",
    "CancelationException": "cog.exceptions",
    "Coder": "cog.coder",
    "ConcatenateIterator": "cog.iterators",
    "ExperimentalFeatureWarning": "cog.exceptions",
    "FieldInfo": "cog.input",
    "File": "cog.files",
    "Input": "cog.input",
    "Model": "cog.runner",
    "Opaque": "cog.iterators",
    "Path": "cog.files",
    "Predictor": "cog.runner",
    "Secret": "cog.secret",
    "URLFile": "cog.files",
    "URLPath": "cog.files",
    "concurrent": "cog.decorators",
    "current_scope": "cog.scope",
    "emit_metric": "cog.scope",
    "input": "cog.input",
    "streaming": "cog.decorators",
}

# Not for `import *`: names of 2021, one of which is a builtin, and `Coder`.
__all__ = [
    "__version__",
    *(name for name in _HOME if name not in ("Coder", "Model", "Predictor", "input")),
]

_DEPRECATED = {
    "ExperimentalFeatureWarning": "Remove the import and the `warnings.filterwarnings(...)` calls that use it.",
    "emit_metric": "Use current_scope().record_metric(name, value) instead.",
}
"""What is said on standard error when such a name is first used."""

if TYPE_CHECKING:
    from cog.coder import Coder as Coder
    from cog.declared import declare_input as input  # noqa: A004, F401
    from cog.decorators import concurrent as concurrent
    from cog.decorators import streaming as streaming
    from cog.exceptions import (
        CancelationException as CancelationException,
    )
    from cog.exceptions import (
        ExperimentalFeatureWarning as ExperimentalFeatureWarning,
    )
    from cog.files import File as File
    from cog.files import Path as Path
    from cog.files import URLFile as URLFile
    from cog.files import URLPath as URLPath
    from cog.input import FieldInfo as FieldInfo
    from cog.input import Input as Input
    from cog.iterators import (
        AsyncConcatenateIterator as AsyncConcatenateIterator,
    )
    from cog.iterators import (
        ConcatenateIterator as ConcatenateIterator,
    )
    from cog.iterators import (
        Opaque as Opaque,
    )
    from cog.model import BaseModel as BaseModel
    from cog.runner import BasePredictor as BasePredictor
    from cog.runner import BaseRunner as BaseRunner
    from cog.runner import Model as Model
    from cog.runner import Predictor as Predictor
    from cog.scope import current_scope as current_scope
    from cog.scope import emit_metric as emit_metric
    from cog.secret import Secret as Secret


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'cog' has no attribute {name!r}")
    if name in _DEPRECATED:
        text = f"cog: {name} is deprecated and will be removed in a future release. {_DEPRECATED[name]}"
        print(text, file=sys.stderr)  # noqa: T201  # not a warning: filters for warnings would hide it
    module = importlib.import_module(home)
    value = module if name == "input" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
