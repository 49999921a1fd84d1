"""What a model returns → JSON and files.  Standard library and the SDK only.

In two steps: `prepare` turns a value into JSON and finds its files, `take` deals with the files, which may last.
A file keeps its content even if the model writes to the same path again: one that the prediction made in the
temporary folder is moved out of the way, any other is copied; or all are uploaded, if there is a place for that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import tempfile
import time
import types
from typing import Any, Dict, List, Optional, Set, Tuple, Union

from cog.files import URLPath
from cog.worker.plain import OutputError, UploadError, key, location, media_type, scalar, unwrapped
from cog.worker.protocol import FileAt

File = Dict[str, Any]
"""The fields of a `FileAt`."""


def file_clock() -> float:
    """The Unix time that a file made now would carry: the kernel's coarse clock, a tick behind the fine one."""
    return time.clock_gettime(5)  # CLOCK_REALTIME_COARSE, which `time` does not name


@dataclasses.dataclass(frozen=True)
class Found:
    """A file in an output: where it stands, what it is called, and the path or the open stream that has its content."""

    at: List[Any]
    name: str
    source: Union[str, Any]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An output as JSON, None where a file belongs, and its files.  `last`: the model will not use them any more."""

    plain: Any
    files: List[Found]
    last: bool


class Outputs:
    """The outputs of one prediction; files go to `folder`, or by `PUT` to `upload_url`.

    `since` is the `file_clock` when the prediction began.
    """

    def __init__(self, folder: str, *, since: float, upload_url: Optional[str] = None) -> None:
        self._folder = folder
        self._since = since
        self._upload_url = upload_url
        self._count = 0
        self._used: Set[str] = set()
        self._yielded: List[str] = []

    def prepare(self, value: Any, *, last: bool) -> Prepared:
        """A returned (`last`) or yielded value; OutputError if it cannot be sent."""
        files: List[Found] = []
        return Prepared(self._convert(value, [], files), files, last)

    def take(self, prepared: Prepared) -> Tuple[Any, List[File]]:
        """JSON and the files that belong where it has None.  OutputError or UploadError if one cannot be had."""
        if not prepared.files:
            return prepared.plain, []
        if self._upload_url is not None:
            return self._uploaded(prepared), []
        files: List[File] = []
        copies: Dict[str, str] = {}
        for found in prepared.files:
            path = found.source if isinstance(found.source, str) else None
            if path is None or path not in copies:
                copy = self._fresh()
                if path is None:
                    _write(found.source, copy)
                else:
                    copies[path] = copy
            files.append(vars(FileAt(found.at, copies[path] if path else copy, found.name, media_type(found.name))))
        for path, copy in copies.items():
            mine = self._made_here(path)
            if prepared.last and mine:
                _replace(path, copy)
                continue
            shutil.copyfile(path, copy)
            if mine and path not in self._yielded:
                self._yielded.append(path)
        return prepared.plain, files

    def tidy(self) -> None:
        """Remove the temporary files that the prediction made and yielded."""
        for path in self._yielded:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _uploaded(self, prepared: Prepared) -> Any:
        from cog.worker.upload import Upload, upload

        assert self._upload_url is not None
        uploads: List[Upload] = []
        streams: List[str] = []
        for found in prepared.files:
            path = found.source
            if not isinstance(path, str):
                path = self._fresh()
                _write(found.source, path)
                streams.append(path)
            uploads.append(Upload(path, self._unique(found.name), media_type(found.name)))
        self._yielded += [one.path for one in uploads if one.path not in streams and self._made_here(one.path)]
        try:
            urls = upload(uploads, to=self._upload_url)
        except (OSError, ValueError) as problem:
            raise UploadError(f"Failed to upload output: {problem}") from problem
        finally:
            for path in streams:
                os.unlink(path)
        holder = [prepared.plain]
        for index, found in enumerate(prepared.files):
            place: Any = holder
            *path, last = [0, *found.at]
            for step in path:
                place = place[step]
            place[last] = urls[index]
        return holder[0]

    def _unique(self, name: str) -> str:
        """A name that no other upload of this prediction has: one must not overwrite the other."""
        stem, extension = os.path.splitext(name)
        wanted, number = name, 0
        while wanted in self._used:
            number += 1
            wanted = f"{stem}-{number}{extension}"
        self._used.add(wanted)
        return wanted

    def _convert(self, value: Any, at: List[Any], files: List[Found]) -> Any:
        if value is None or type(value) in (str, int, bool):
            return value
        if isinstance(value, (str, int, float)):
            return scalar(value, at)
        if isinstance(value, dict):
            return {key(k, at): self._convert(v, [*at, key(k, at)], files) for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset, types.GeneratorType)):
            return [self._convert(item, [*at, index], files) for index, item in enumerate(value)]
        if isinstance(value, pathlib.PurePath):
            files.append(_found(value, at))
            return None
        if isinstance(value, io.IOBase) or _is_file(value):
            label = getattr(value, "name", None)
            if not isinstance(label, str) or not os.path.basename(label):
                label = "0.txt" if isinstance(value, io.TextIOBase) else "0.bin"
            files.append(Found(list(at), os.path.basename(label), value))
            return None
        return self._convert(unwrapped(value, at), at, files)

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


def _is_file(value: Any) -> bool:
    """What `tempfile` and libraries of their own give for an open file."""
    return callable(getattr(value, "read", None)) and callable(getattr(value, "seek", None))


def _found(path: pathlib.PurePath, at: List[Any]) -> Found:
    if isinstance(path, URLPath):
        path = path.convert()
    real = os.path.abspath(os.fspath(path))
    if os.path.isdir(real):
        raise OutputError(f"output {location(at)}is a folder, not a file: {path}")
    if not os.path.isfile(real):
        raise OutputError(f"output file does not exist: {path}")
    return Found(list(at), path.name, real)


def _write(stream: Any, path: str) -> None:
    """The content of an open file, from its beginning, and what it has not written yet."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.flush()
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.seek(0)
    try:
        with open(path, "wb") as file:
            while True:
                chunk = stream.read(1 << 20)
                if not chunk:
                    return
                file.write(chunk.encode() if isinstance(chunk, str) else chunk)
    except ValueError as problem:  # closed, or opened for writing only
        raise OutputError(f"output file cannot be read: {problem}") from problem


def _replace(path: str, copy: str) -> None:
    try:
        os.rename(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
        with contextlib.suppress(OSError):
            os.unlink(path)
