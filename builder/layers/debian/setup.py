"""What a model of a maintainer script works on.  Pure."""

from __future__ import annotations

import dataclasses
import re
import shlex

from builder.errors import LayerError
from builder.layers.debian.unpack import Package
from builder.layers.root import Root

ADMIN = "var/lib/dpkg"


@dataclasses.dataclass(slots=True, kw_only=True)
class Setup:
    """The system that is being configured, and the one script whose effects are applied now.

    `diversions` maps a diverted absolute path to its target and the package that diverted it.
    """

    root: Root
    architecture: str
    package: Package
    script: str
    diversions: dict[str, tuple[str, str]]

    def group(self, name: str) -> int:
        """The numeric id of a group of `/etc/group`."""
        for line in self.root.read("etc/group").decode().splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2])
        raise LayerError(f"`/etc/group` has no group `{name}`")

    def divert(self, path: str, target: str) -> None:
        """`dpkg-divert --add --no-rename` on behalf of the script's package."""
        self.diversions[path] = (target, self.package.name)


def commands(script: str, *, program: str) -> list[list[str]]:
    """The words of every call of `program` in a script, with continued lines joined."""
    joined = script.replace("\\\n", " ")
    found = re.findall(rf"^[ \t]*{re.escape(program)}[ \t]+(.*)$", joined, re.MULTILINE)
    return [shlex.split(line.split("||")[0].split(">")[0]) for line in found]


def here_document(script: str, *, after: str) -> str:
    """The text of the first here-document after the text `after`, its leading tabs removed for `<<-`."""
    start = script.index(after) + len(after)
    found = re.compile(r"<<(-?)\s*'?(\w+)'?[^\n]*\n").search(script, start)
    if found is None:
        raise LayerError(f"no here-document follows `{after}`")
    lines = []
    for line in script[found.end() :].split("\n"):
        text = line.lstrip("\t") if found[1] else line
        if text == found[2]:
            break
        lines.append(text + "\n")
    return "".join(lines)
