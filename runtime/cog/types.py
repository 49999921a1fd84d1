"""The SDK's types under the module name that older models import them from."""

from __future__ import annotations

from cog.files import File, Path, URLFile, URLPath, get_filename
from cog.input import FieldInfo, Input
from cog.iterators import AsyncConcatenateIterator, ConcatenateIterator, Opaque
from cog.secret import Secret

__all__ = [
    "AsyncConcatenateIterator", "ConcatenateIterator", "FieldInfo", "File", "Input", "Opaque", "Path", "Secret",
    "URLFile", "URLPath", "get_filename",
]  # fmt: skip
