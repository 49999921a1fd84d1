"""What the templates are given: values quoted for who reads them, and addresses that others can reach.

Pure.  Source of the rules: the Dockerfile reference ("Escape", "ENV", "LABEL"), pip's requirements file format.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from builder.config import Mount
from builder.errors import ConfigError
from builder.lock import DebianBase, ImageBase

if TYPE_CHECKING:
    import jinja2

PIECE = 4000
"""Characters of a quoted word: parsers of Containerfiles and shells have limits on lines and words."""

LOCAL = ("oci:", "oci-archive:", "docker-archive:")


def templates() -> jinja2.Environment:
    """The templates of this package: undefined names are errors, nothing is escaped but by these functions."""
    import jinja2  # late: nothing else needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("builder.emit", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  no HTML; what is quoted is quoted for the shell, or as JSON
    )
    environment.filters["yaml"] = json_text
    environment.filters["shell"] = shlex.quote
    return environment


def json_text(value: object) -> str:
    """A value as JSON, which YAML reads as well."""
    return json.dumps(value, ensure_ascii=False)


def json_words(words: Iterable[str]) -> str:
    """The exec form of an instruction."""
    return json.dumps(list(words))


def quoted(text: str) -> str:
    """One word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def escaped(text: str) -> str:
    """A value between double quotes of `ENV` or `LABEL`; a line end is two letters, as in the JSON of labels."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n")


def environment(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Operands of `ENV`; `ConfigError` for a value with a line end, which no `ENV` can hold."""
    found = [*pairs]
    for name, value in found:
        if "\n" in value:
            raise ConfigError(
                f"a Containerfile cannot hold the line end in the value of `{name}`",
                hint="write the value on one line in `environment`, or build with `cogsmith build`, which can",
            )
    return [(name, escaped(value)) for name, value in found]


def continued(text: str) -> str:
    """A long value on several lines: broken between two letters, where no parser sees anything else."""
    lines = []
    while len(text) > 2 * PIECE and (place := re.compile(r"[a-z](?=[a-z])").search(text, PIECE)):
        lines.append(text[: place.end()])
        text = text[place.end() :]
    return "\\\n".join([*lines, text])


def run(command: str, *, mounts: Iterable[Mount] = ()) -> str:
    """The operand of `RUN` for a command of `build.run`, with the flags of its secrets.

    As it is where every parser reads it so; as words where one would see a flag, a list, a here-document (which
    Kaniko drops) or the end of the instruction.
    """
    flags = "".join(f"--mount=type={m.type},id={m.id},target={m.target},required=true " for m in mounts)
    plain = command.strip() == command and command.isprintable() and not command.endswith("\\")
    if plain and "<<" not in command and not command.startswith(("-", "[", "#")) and len(command) < PIECE:
        return flags + command
    return flags + continued(json_words(("/bin/sh", "-c", command)))


def is_plain(text: str) -> bool:
    """Whether a label's value means itself, however often it is read as a word.

    The osscontainertools build of Kaniko reads those of `LABEL` three times: what was escaped once is gone then.
    """
    return not set("\"'\\$\n") & set(text)


def public_url(urls: Iterable[str]) -> str:
    """The first address that other machines can reach, without its fragment; empty if there is none."""
    return next((url.partition("#")[0] for url in urls if url.startswith(("https://", "http://"))), "")


def image_reference(base: DebianBase | ImageBase) -> str:
    """A base image by digest; one of this machine's files by its name."""
    assert isinstance(base, ImageBase)
    if base.reference.startswith(LOCAL):
        return base.reference
    return f"{base.reference.partition('@')[0]}@{base.digest}"
