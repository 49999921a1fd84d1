"""Secrets that a command wrote into a file: looked for in what becomes a layer, as they are and as base64.

Standard library only; reads the content that it is handed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping

from builder.errors import LayerError
from builder.layers.content import Content, FileSlice, Spooled
from builder.layers.reader import Reader
from builder.layers.tar import Member

MIN = 8
"""Bytes of the shortest secret that is looked for: shorter ones are found everywhere."""


def checked(members: Iterable[Member], *, secrets: Mapping[str, bytes], step: str) -> Iterator[Member]:
    """The same members; `LayerError` for one whose content, name or target has the value of one of `secrets`.

    `secrets` maps where the command `step` could read a secret to its value, which is looked for without white space at
    its ends.
    """
    needles = {target: _forms(value.strip()) for target, value in secrets.items() if len(value.strip()) >= MIN}
    if not needles:
        yield from members
        return
    overlap = max(len(form) for forms in needles.values() for form in forms) - 1
    with Reader() as reader:
        for member in members:
            tail = b""
            for piece in (_names(member), *_pieces(member.content, reader=reader, label=member.path)):
                window = tail + piece
                for target, forms in needles.items():
                    if any(form in window for form in forms):
                        raise _found(member.path, target=target, step=step)
                tail = window[-overlap:]
            yield member


def _forms(value: bytes) -> list[bytes]:
    """A value as it is, and what is the same of its base64 whatever stands before and after it."""
    forms = [value]
    for before in range(3):
        text = base64.b64encode(b"\0" * before + value)
        first = (before * 8 + 5) // 6
        last = (before + len(value)) * 8 // 6
        forms += {text[first:last], text[first:last].replace(b"+", b"-").replace(b"/", b"_")}
    return forms


def _names(member: Member) -> bytes:
    return f"{member.path}\n{member.linkname}\n".encode(errors="surrogateescape")


def _pieces(content: Content | None, *, reader: Reader, label: str) -> Iterator[bytes]:
    match content:
        case FileSlice():
            yield from reader.slices(content, label=label)
        case Spooled():
            yield from reader.spooled(content, label=label)
        case _:  # made by a rule, of nothing that a command wrote
            return


def _found(path: str, *, target: str, step: str) -> LayerError:
    return LayerError(
        f"`/{path}` has the value of the secret `{target}`, and would be in the image",
        details=f"written by: {step}",
        hint=f"let the command read `{target}` where it is mounted, and remove what it writes of it before it ends",
    )
