"""What a model imports as `cog`.  Standard library only, CPython 3.8 and later; imports nothing of the builder.

Names are loaded when they are first used (PEP 562), so `import cog` costs next to nothing.
"""

from __future__ import annotations

import importlib

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
    "Opaque": "cog.iterators",
    "Path": "cog.files",
    "Secret": "cog.secret",
    "URLFile": "cog.files",
    "URLPath": "cog.files",
    "concurrent": "cog.decorators",
    "current_scope": "cog.scope",
    "emit_metric": "cog.scope",
    "streaming": "cog.decorators",
}

__all__ = [
    "__version__",
    *_HOME,
]

if TYPE_CHECKING:
    from cog.coder import Coder as Coder
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
    from cog.scope import current_scope as current_scope
    from cog.scope import emit_metric as emit_metric
    from cog.secret import Secret as Secret


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'cog' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
