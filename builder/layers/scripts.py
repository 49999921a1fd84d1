"""What a wheel puts on `PATH`: launchers for entry points, and scripts whose first line names the interpreter."""

from __future__ import annotations

import configparser
import dataclasses
import re

from builder.errors import LayerError
from builder.frozen import frozen

SHEBANG_MAX = 127
"""Bytes of a first line that every Linux kernel reads."""

_REFERENCE = re.compile(r"(?P<module>[\w.\-]+)\s*:\s*(?P<attribute>[\w.]+)\s*(\[[^\]]*\])?\s*$")


@frozen
class EntryPoint:
    """A command `name` that calls `attribute` (dotted) of `module`."""

    name: str
    module: str
    attribute: str


def entry_points(data: bytes, *, label: str) -> list[EntryPoint]:
    """The console and GUI scripts of an `entry_points.txt`, by name; `label` names the wheel in errors.

    Source: the entry points specification (packaging.python.org).  Names that are not one file name are refused.
    """
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    try:
        parser.read_string(data.decode())
    except (UnicodeDecodeError, configparser.Error) as problem:
        raise LayerError(f"entry_points.txt in `{label}` is malformed", details=str(problem)) from problem
    points: dict[str, EntryPoint] = {}
    for section in ("gui_scripts", "console_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            match = _REFERENCE.match(value)
            if match is None or not match["module"] or "\n" in value:
                raise LayerError(f"the command `{name}` of `{label}` names no function: `{value}`")
            if "/" in name or "\\" in name or "\0" in name or name in ("", ".", "..") or not name.isprintable():
                raise LayerError(f"the command `{name!a}` of `{label}` is not a file name")
            points[name] = EntryPoint(name=name, module=match["module"], attribute=match["attribute"])
    return [points[name] for name in sorted(points)]


def suited(points: list[EntryPoint], *, python: str) -> list[EntryPoint]:
    """The scripts that installers make for Python `python` (`3.11`): pip's `pip3.N` names that one, and no other.

    Wheels of pip up to 24.0 name the Python that built them, later ones none.  pip knows only itself here, uv every
    wheel with a `pip3`; we do as uv.
    """
    kept = [point for point in points if not re.fullmatch(r"pip3\.\d+", point.name)]
    own = [dataclasses.replace(point, name=f"pip{python}") for point in kept if point.name == "pip3"]
    return sorted(kept + own, key=lambda point: point.name) if python else points


def launcher(point: EntryPoint, *, interpreter: str) -> bytes:
    """The script that calls an entry point."""
    imported = point.attribute.partition(".")[0]
    lines = (
        "# -*- coding: utf-8 -*-",
        "import sys",
        f"from {point.module} import {imported}",
        'if __name__ == "__main__":',
        f"    sys.exit({point.attribute}())",
        "",
    )
    return shebang(interpreter) + "\n".join(lines).encode()


def is_python_script(start: bytes) -> bool:
    """Whether a script's first bytes ask for the installer's interpreter: `#!python` or `#!pythonw`."""
    return start.startswith(b"#!python")


def rewrite_shebang(data: bytes, *, interpreter: str) -> bytes:
    """A script with its whole first line replaced, as pip does."""
    _, _, rest = data.partition(b"\n")
    return shebang(interpreter) + rest


def shebang(interpreter: str) -> bytes:
    """The first line that starts `interpreter`; by way of `sh` where the kernel would not understand it."""
    line = f"#!{interpreter}\n".encode()
    if len(line) <= SHEBANG_MAX and not re.search(rb"\s", line[:-1]):
        return line
    return f"#!/bin/sh\n'''exec' \"{interpreter}\" \"$0\" \"$@\"\n' '''\n".encode()
