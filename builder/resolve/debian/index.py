"""A Debian package index (`Packages`) in memory: quick to read, paragraphs parsed when asked for.  Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from builder.resolve.debian.relations import Relation, parse
from builder.resolve.debian.version import sort_key

_FIELD = re.compile(r"^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_PROVIDES = re.compile(rb"^Provides:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_VERSION = re.compile(rb"^Version:[ \t]*(\S+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One paragraph of an index, and the mirrors (base URLs) that offer it."""

    name: str
    version: str
    fields: dict[str, str]
    mirrors: tuple[str, ...]

    def relations(self, *names: str) -> list[list[Relation]]:
        """The conjunction in the fields `names` (`Depends`, `Pre-Depends`)."""
        return [group for name in names for group in parse(self.fields.get(name, ""))]

    def provides(self) -> Iterator[tuple[str, str]]:
        """Names that the package provides, each with a version or an empty string."""
        for group in parse(self.fields.get("Provides", "")):
            yield group[0].name, group[0].version


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Paragraph:
    """A place in an index that was not needed yet."""

    text: bytearray
    start: int
    end: int
    mirrors: tuple[str, ...]


class Index:
    """All packages of several `Packages` files; of each name the newest version wins, the first one among equals."""

    def __init__(self) -> None:
        self._newest: dict[str, Package | _Paragraph] = {}
        self._essential: set[str] = set()
        self._providers: dict[str, set[str]] = {}

    def add(self, text: bytearray, *, mirrors: tuple[str, ...]) -> None:
        """Take in the paragraphs of one `Packages` file."""
        for start, end in _paragraphs(text):
            if not text.startswith(b"Package: ", start):
                continue
            name = text[start + 9 : text.index(b"\n", start)].strip().decode("ascii", errors="replace")
            old = self._newest.get(name)
            if old is not None:
                version = _VERSION.search(text, start, end)
                if version is None or sort_key(version[1].decode("ascii", errors="replace")) <= sort_key(
                    self._parsed(name).version
                ):
                    continue
                self._forget(name)
            self._newest[name] = _Paragraph(text=text, start=start, end=end, mirrors=mirrors)
            if text.find(b"\nEssential: yes", start, end) >= 0:
                self._essential.add(name)
            at = text.find(b"\nProvides:", start, end)
            found = _PROVIDES.match(text, at + 1, end) if at >= 0 else None
            for item in found[1].split(b",") if found else ():
                provided = item.partition(b"(")[0].strip().decode("ascii", errors="replace")
                self._providers.setdefault(provided, set()).add(name)

    @property
    def essential(self) -> list[str]:
        """Names of the packages that every system has (`Essential: yes`), sorted."""
        return sorted(self._essential)

    @property
    def names(self) -> Iterable[str]:
        """The names of all packages, in the order of the files."""
        return self._newest.keys()

    def get(self, name: str) -> Package | None:
        """The newest package called `name`."""
        return self._parsed(name) if name in self._newest else None

    def providers(self, name: str) -> Iterable[Package]:
        """Packages that provide `name`, by name."""
        return (self._parsed(provider) for provider in sorted(self._providers.get(name, ())))

    def _forget(self, name: str) -> None:
        self._essential.discard(name)
        for provided, _ in self._parsed(name).provides():
            self._providers[provided].discard(name)

    def _parsed(self, name: str) -> Package:
        entry = self._newest[name]
        if isinstance(entry, Package):
            return entry
        paragraph = entry.text[entry.start : entry.end].decode("utf-8", errors="replace")
        fields = {found[1]: found[2] for found in _FIELD.finditer(paragraph)}
        package = Package(name=name, version=fields["Version"], fields=fields, mirrors=entry.mirrors)
        self._newest[name] = package
        return package


def _paragraphs(text: bytearray) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = text.find(b"\n\n", start)
        if end < 0:
            end = len(text)
        yield start, end
        start = end + 2
