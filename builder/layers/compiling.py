"""The program that the image's own interpreter runs to compile sources: standard input to standard output.

For CPython 3.8 and later; imports nothing from a file, and knows nothing of the builder, which hands its text over.
Each request is a path, as the code is to know it, and a source; each answer the bytes of a `.pyc` file (PEP 552,
unchecked), or nothing.  All are preceded by their length, four bytes, little-endian.

What `marshal` writes says of each object whether anything else in the process refers to it, so that the bytes of one
file depend on what was compiled before.  The objects for which that can be so are strings: here each of them is
referred to once more.  It says, too, whether a string is interned, and those of at most one character are the same
objects for the whole process: all of them are interned before anything is compiled.
"""

from __future__ import annotations

import _frozen_importlib_external as external
import _imp
import marshal
import sys

SKIPPED = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
"""What compiling raises for text that is no Python of this version, or too deep for it."""

CodeType = type((lambda: None).__code__)
ORDERED = (str, bytes, int, float, complex)
MAGIC = external.MAGIC_NUMBER
KEY = int.from_bytes(MAGIC, "little")


SHORT = [sys.intern(text) for text in ("", *map(chr, range(256)))]


class UnorderedError(Exception):
    """A set whose order depends on where objects lie in memory; before 3.11 it is in the bytes."""


def strings(code: object) -> list[str]:
    """All strings in a code object, and so a reference to each."""
    found: list[str] = []
    pending: list[object] = [code]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, (tuple, frozenset)):
            if isinstance(value, frozenset) and sys.version_info < (3, 11):
                check_order(value)
            pending.extend(value)
        elif isinstance(value, slice):
            pending += [value.start, value.stop, value.step]
        elif isinstance(value, CodeType):
            pending += [value.co_name, getattr(value, "co_qualname", ""), value.co_filename, value.co_consts]
            pending += [value.co_names, value.co_varnames, value.co_cellvars, value.co_freevars]
    return found


def check_order(values: tuple[object, ...] | frozenset[object]) -> None:
    """Raise `UnorderedError` unless the hashes of all these are the same in every process."""
    for value in values:
        if isinstance(value, tuple):
            check_order(value)
        elif not isinstance(value, ORDERED):
            raise UnorderedError


def compiled(path: str, source: bytes) -> bytes:
    """The bytes of the `.pyc` file, or none."""
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        kept = strings(code)
    except (*SKIPPED, UnorderedError):
        return b""
    data = MAGIC + (1).to_bytes(4, "little") + _imp.source_hash(KEY, source) + marshal.dumps(code)
    del kept
    return data


def main() -> None:
    """Answer requests until there are no more."""
    receive, send = sys.stdin.buffer.read, sys.stdout.buffer.write
    while True:
        size = receive(4)
        if not size:
            break
        path = receive(int.from_bytes(size, "little")).decode()
        data = compiled(path, receive(int.from_bytes(receive(4), "little")))
        send(len(data).to_bytes(4, "little") + data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
