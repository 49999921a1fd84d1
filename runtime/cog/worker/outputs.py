"""What a model returns → JSON and files.  Standard library and the SDK only.

A file keeps its content even if the model writes to the same path again: one that the prediction made in the
temporary folder is moved out of the way, any other is copied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import io
import math
import mimetypes
import os
import pathlib
import shutil
import tempfile
import time
from typing import Any, Dict, List, Tuple

from cog.coder import Coder
from cog.secret import Secret
from cog.worker.protocol import FileAt


def file_clock() -> float:
    """The Unix time that a file made now would carry: the kernel's coarse clock, a tick behind the fine one."""
    return time.clock_gettime(5)  # CLOCK_REALTIME_COARSE, which `time` does not name


class OutputError(Exception):
    """An output that cannot be sent."""


class Outputs:
    """Turns the outputs of one prediction into JSON; files go to `folder`.  `since`: the `file_clock` when it began."""

    def __init__(self, folder: str, *, since: float) -> None:
        self._folder = folder
        self._since = since
        self._count = 0
        self._yielded: List[str] = []

    def final(self, value: Any) -> Tuple[Any, List[Dict[str, Any]]]:
        """A returned value: JSON with None where a file belongs, and the files."""
        return self._plain(value, move=True)

    def item(self, value: Any) -> Tuple[Any, List[Dict[str, Any]]]:
        """A yielded value; the model may still use its files."""
        return self._plain(value, move=False)

    def tidy(self) -> None:
        """Remove the temporary files that the prediction made and yielded."""
        for path in self._yielded:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _plain(self, value: Any, *, move: bool) -> Tuple[Any, List[Dict[str, Any]]]:
        files: List[FileAt] = []
        taken: Dict[str, str] = {}
        plain = self._convert(value, [], files, taken)
        for path, copy in taken.items():
            mine = self._made_here(path)
            if move and mine:
                _replace(path, copy)
                continue
            shutil.copyfile(path, copy)
            if mine and path not in self._yielded:
                self._yielded.append(path)
        return plain, [vars(file) for file in files]

    def _convert(self, value: Any, at: List[Any], files: List[FileAt], taken: Dict[str, str]) -> Any:
        if value is None or type(value) in (str, int, bool):
            return value
        if isinstance(value, enum.Enum):
            return self._convert(value.value, at, files, taken)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise OutputError(f"output {_name(at)}is {value}, which JSON cannot express")
            return float(value)
        if isinstance(value, (str, int)):
            return str(value) if isinstance(value, str) else int(value)
        if isinstance(value, dict):
            return {_key(k, at): self._convert(v, [*at, _key(k, at)], files, taken) for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._convert(item, [*at, index], files, taken) for index, item in enumerate(value)]
        if isinstance(value, pathlib.PurePath):
            files.append(self._file(value, at, taken))
            return None
        if isinstance(value, io.IOBase):
            files.append(self._stream(value, at))
            return None
        return self._convert(_unwrapped(value, at), at, files, taken)

    def _file(self, path: pathlib.PurePath, at: List[Any], taken: Dict[str, str]) -> FileAt:
        real = os.path.abspath(os.fspath(path))
        if not os.path.isfile(real):
            raise OutputError(f"output file does not exist: {path}")
        if real not in taken:
            taken[real] = self._fresh()
        return FileAt(list(at), taken[real], path.name, _media_type(path.name))

    def _stream(self, stream: Any, at: List[Any]) -> FileAt:
        name = getattr(stream, "name", None)
        if stream.seekable():
            stream.seek(0)
        text = isinstance(stream, io.TextIOBase)
        label = os.path.basename(name) if isinstance(name, str) and name else ("0.txt" if text else "0.bin")
        copy = self._fresh()
        with open(copy, "wb") as file:
            for chunk in iter(lambda: stream.read(1 << 20), "" if text else b""):
                file.write(chunk.encode() if text else chunk)
        return FileAt(list(at), copy, label, _media_type(label))

    def _fresh(self) -> str:
        self._count += 1
        os.makedirs(self._folder, exist_ok=True)
        return os.path.join(self._folder, f"output-{self._count}")

    def _made_here(self, path: str) -> bool:
        if os.path.islink(path):
            return False
        status = os.stat(path)
        temporary = os.path.realpath(path).startswith(os.path.realpath(tempfile.gettempdir()) + os.sep)
        return temporary and status.st_nlink == 1 and min(status.st_mtime, status.st_ctime) >= self._since


def _replace(path: str, copy: str) -> None:
    try:
        os.rename(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
        with contextlib.suppress(OSError):
            os.unlink(path)


def _unwrapped(value: Any, at: List[Any]) -> Any:
    """One step towards JSON for a value of a class; OutputError if it is nothing we know."""
    coder = Coder.lookup(type(value))
    if coder is not None:
        return coder.encode(value)
    if isinstance(value, Secret):
        raise OutputError(f"output {_name(at)}is a Secret, which is never sent")
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
    raise OutputError(f"output {_name(at)}of type {type(value).__name__} cannot be sent as JSON")


def _key(key: Any, at: List[Any]) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if isinstance(key, (bool, int, float)):
        return str(key)
    raise OutputError(f"output {_name(at)}has a key of type {type(key).__name__}")


def _name(at: List[Any]) -> str:
    return "/".join(map(str, at)) + " " if at else ""


def _media_type(name: str) -> str:
    if name.lower().endswith(".webp"):  # unknown to older Pythons
        return "image/webp"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
