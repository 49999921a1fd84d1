"""Outputs of a prediction: files where the schema says so, text or JSON otherwise.  Writes files; prints nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import mimetypes
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder.engine.large import Large, whole
from builder.errors import PredictionError
from builder.frozen import frozen

DEFAULT_NAME = "output"
_BROKEN = "the model's server sent it so: see its log above"
EXTENSIONS = {"image/jpeg": ".jpg", "text/plain": ".txt", "audio/x-wav": ".wav", "application/octet-stream": ""}
"""Where the platform's table is odd, silent, or depends on the host."""


@frozen
class Delivery:
    """What became of an output: `text` is for standard output, `files` were written, `warning` is for the user."""

    text: str = ""
    files: tuple[Path, ...] = ()
    warning: str = ""


def deliver(output: Any, *, schema: Mapping[str, Any] | None, path: Path | None, folder: Path) -> Delivery:
    """Write or render an output.

    `schema` is the OpenAPI document of the model.  Files (`format: uri`) go to `path`, or to `output` in `folder`, with
    an extension by type; several are numbered.  A `path` that is a directory gets `output` in it.  Everything else is
    text for standard output, or goes to `path` if given.
    """
    if output is None:
        return Delivery(warning="No output generated")
    files = write_files(output, schema=schema, path=path, folder=folder)
    if files:
        return Delivery(files=files)
    text = render(output)
    if path is None:
        return Delivery(text=text)
    target = _target(path, folder=folder)
    write(target, text.encode(errors="backslashreplace"))
    return Delivery(files=(target,))


def write_files(output: Any, *, schema: Mapping[str, Any] | None, path: Path | None, folder: Path) -> tuple[Path, ...]:
    """Write an output that is one file, or a list of them, as `deliver` says; none if it is something else."""
    kind = output_schema(schema)
    if _is_file(kind, output):
        return (_write_url(output, _target(path, folder=folder)),)
    if isinstance(output, list) and output and all(_is_file(kind.get("items") or {}, item) for item in output):
        target = _target(path, folder=folder)
        stem = target.name.removesuffix(_suffix(target))
        names = [target.with_name(f"{stem}.{n}{_suffix(target)}") for n in range(len(output))]
        return tuple(_write_url(item, name) for item, name in zip(output, names, strict=True))
    return ()


def deliver_training(output: Any, *, schema: Mapping[str, Any] | None, path: Path, folder: Path) -> Delivery:
    """As `deliver`, and the files among the fields of an object are written as well.

    The only one goes to `path` itself, several to `path` with the field's name; what else the object holds is text.
    """
    fields = output_schema(schema).get("properties") or {}
    held = output if isinstance(output, dict) else {}
    names = [name for name, value in held.items() if _is_file(fields.get(name) or {}, value)]
    if not names:
        return deliver(output, schema=schema, path=path, folder=folder)
    target = _target(path, folder=folder)
    suffix = _suffix(target)
    stem = target.name.removesuffix(suffix)
    places = {name: target if len(names) == 1 else target.with_name(f"{stem}-{name}{suffix}") for name in names}
    files = tuple(_write_url(held[name], place) for name, place in places.items())
    rest = {name: value for name, value in held.items() if name not in names}
    return Delivery(text=render(rest) if rest else "", files=files)


def render(output: Any) -> str:
    """An output as text with a final line end: a string raw, a scalar or structure as JSON (two spaces)."""
    output = whole(output)
    if isinstance(output, str):
        return output + "\n"
    return json.dumps(output, indent=2, ensure_ascii=False) + "\n"


def output_schema(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The schema of the output; empty if unknown."""
    schemas = ((schema or {}).get("components") or {}).get("schemas") or {}
    found: Mapping[str, Any] = schemas.get("Output") or {}
    return found


def _is_file(schema: Mapping[str, Any], output: Any) -> bool:
    return schema.get("type") == "string" and schema.get("format") == "uri" and isinstance(output, str | Large)


def _suffix(path: Path) -> str:
    # `out.0` is a name with a number, not one with an extension.
    return "" if re.fullmatch(r"\.\d+", path.suffix) else path.suffix


def _target(path: Path | None, *, folder: Path) -> Path:
    try:
        return _place(path, folder=folder)
    except (OSError, RuntimeError) as problem:  # a name too long; `~nobody`
        raise _unwritable(path, problem) from problem


def _place(path: Path | None, *, folder: Path) -> Path:
    if path is None:
        target = folder / DEFAULT_NAME
        if target.is_dir():
            raise PredictionError(
                f'Default output name "{DEFAULT_NAME}" conflicts with directory, provide --output',
                hint="as in `-o result`",
            )
        return target
    target = folder / path.expanduser()
    return target / DEFAULT_NAME if target.is_dir() else target


def _write_url(url: str | Large, target: Path) -> Path:
    """Write a `data:` URL (RFC 2397) to `target`, which gets an extension unless it has one."""
    if isinstance(url, Large) and "base64" not in url.head.split(";"):
        url = url.whole()
    head, comma, body = (url.head, ",", "") if isinstance(url, Large) else url.partition(",")
    if not head.startswith("data:") or not comma:
        raise PredictionError(f"the output is not a data URL: `{head[:80]}`", hint="only data URLs can be written")
    kind, *parameters = head.removeprefix("data:").split(";")
    if not _suffix(target) and not _through(target):
        extension = EXTENSIONS.get(kind)
        target = target.with_name(
            target.name + (mimetypes.guess_extension(kind) or "" if extension is None else extension)
        )
    try:
        if isinstance(url, Large):
            write(target, url.content())
        else:
            raw = urllib.parse.unquote_to_bytes(body)
            write(target, base64.b64decode(raw, validate=True) if "base64" in parameters else raw)
    except ValueError as problem:  # binascii.Error is one
        raise PredictionError("the output is not a valid data URL", details=str(problem), hint=_BROKEN) from problem
    return target


def _through(path: Path) -> bool:
    """A pipe, a device, or a link: what /dev/stdout is, also where it is a file, and must stay."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def write(target: Path, data: bytes | Iterable[bytes]) -> None:
    """Replace `target` whole, or write into it if it is no plain file; `PredictionError` if that cannot be."""
    pieces = [data] if isinstance(data, bytes) else data
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    plain = True
    try:
        plain = not _through(target)
        with (temporary if plain else target).open("wb") as file:
            for piece in pieces:
                file.write(piece)
        if plain:
            temporary.replace(target)
    except OSError as problem:
        raise _unwritable(target, problem) from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _unwritable(path: Path | None, problem: Exception) -> PredictionError:
    why = (getattr(problem, "strerror", None) or str(problem)).lower()
    return PredictionError(f"Output path is not writable: {path}", details=why, hint="choose another with `-o`")
