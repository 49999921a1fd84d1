"""Single values on their way from a model to JSON.  Standard library and the SDK only."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import mimetypes
from typing import Any, List

from cog.coder import Coder
from cog.secret import Secret


class OutputError(Exception):
    """An output that cannot be sent."""


class UploadError(OutputError):
    """A file that could not be uploaded."""


def scalar(value: Any, at: List[Any]) -> Any:
    """A string or number of a class of its own, an enum's too; OutputError if JSON cannot express it."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OutputError(f"output {location(at)}is {value}, which JSON cannot express")
        return float(value)
    if isinstance(value, bool):
        return value
    return str(value) if isinstance(value, str) else int(value)


def unwrapped(value: Any, at: List[Any]) -> Any:
    """One step towards JSON for a value of a class; OutputError if it is nothing we know."""
    coder = Coder.lookup(type(value))
    if coder is not None:
        return coder.encode(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Secret):
        raise OutputError(f"output {location(at)}is a Secret, which is never sent")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if callable(getattr(value, "model_dump", None)):  # pydantic 2
        return value.model_dump()
    if hasattr(value, "__fields__") and callable(getattr(value, "dict", None)):  # pydantic 1
        return value.dict()
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    raise OutputError(f"output {location(at)}of type {type(value).__name__} cannot be sent as JSON")


def key(name: Any, at: List[Any]) -> str:
    """A key of a dict as JSON has it."""
    if isinstance(name, enum.Enum):
        name = name.value
    if name is None or isinstance(name, bool):
        return {None: "null", True: "true", False: "false"}[name]
    if isinstance(name, (str, int, float)):
        return str(name)
    raise OutputError(f"output {location(at)}has a key of type {type(name).__name__}")


def location(at: List[Any]) -> str:
    """A position in an output, for a message; empty at the top."""
    return "/".join(map(str, at)) + " " if at else ""


def media_type(name: str) -> str:
    """The media type of a file by its name."""
    if name.lower().endswith(".webp"):  # unknown to older Pythons
        return "image/webp"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
