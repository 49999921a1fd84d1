"""A requirements file, read as Cog reads it, made ready for uv.

Looks at local wheels that the text names, and at nothing else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.errors import ConfigError
from builder.frozen import frozen
from builder.report import Report

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
OWN = frozenset({"cog", "coglet"})
"""What the image has of its own, whoever asks for it."""

SOURCE_HINT = "choose a version that has a wheel, or list a wheel of your own"

_COMMENT = re.compile(r"(^|\s+)#.*$")
_OPTION = re.compile(r"(--[A-Za-z][A-Za-z-]*)(?:\s*=\s*|\s+|\Z)|(-[A-Za-z])\s*=?\s*")
_FILE_OPTIONS = frozenset({"-r", "--requirement", "-c", "--constraint", "-f", "--find-links"})
_PROJECT = re.compile(r"[A-Za-z0-9._-]+\s*(\[[^]]*\])?\s*\Z")
_PASSWORD = re.compile(r"https?://[^\s/@:]+:(?!\$\{)[^\s/@]+@")
_MARKER = re.compile(r"\s;|;\s")
"""What ends a URL: PEP 508 wants a space before the semicolon, pip one behind it."""
_HASH = re.compile(r"--hash[=\s]\s*(\S+)")
_INDEX_OPTIONS = frozenset({"-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index"})
_FOR_UV = _INDEX_OPTIONS | _FILE_OPTIONS | {"--only-binary"}
_BUILD_OPTIONS = frozenset(
    {"--no-binary", "-C", "--config-setting", "--config-settings", "--global-option", "--install-option"}
)
_REMOTE_SOURCE = re.compile(
    r"(?:git|hg|svn|bzr)\+|https?://[^\s#?]+\.(?:zip|tar\.gz|tgz|tar\.bz2|tar\.xz)(?=[\s#?]|\Z)"
)
_DROPPED = frozenset({"--prefer-binary", "--use-feature", "--use-pep517"})


@frozen
class SourceLine:
    """A requirement that names a source: an archive on this disk or at a URL, or a repository.

    `name` is normalised, and empty where only the source itself says it.
    """

    text: str
    kind: Literal["archive", "git"]
    place: str
    """A path, or a URL without fragment; for `git` what follows `git+`, `@revision` included."""
    name: str = ""
    extras: str = ""
    """As in `[one,two]`; or empty."""
    marker: str = ""
    subdirectory: str = ""
    sha256: str = ""
    hashes: tuple[str, ...] = ()
    """As in `Requirements`."""


@frozen
class Requirements:
    """What to resolve: `lines` for uv (absolute paths for local wheels), and the hashes that were asked for."""

    lines: tuple[str, ...] = ()
    hashes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """By normalised name, the `algorithm:hex` that the file allows."""
    require_hashes: bool = False
    """Whether each package must be one that `hashes` allow."""
    prereleases: bool = False
    trusted_hosts: tuple[str, ...] = ()
    has_index: bool = False
    """Whether the file names an index, or a page of links, of its own."""
    has_extra_index: bool = False
    has_default_index: bool = False
    sources: tuple[SourceLine, ...] = ()
    """What must be built before it can be resolved."""


def read(text: str, *, project: Path, folder: Path | None = None, report: Report) -> Requirements:
    """Read the text of a requirements file that lies in `folder` (default: the project's own).

    All that cannot be used comes in one `ConfigError`, with line numbers.  Warns where `cog` itself is asked for.
    """
    if _PASSWORD.search(text):
        report.warn(
            "a URL in the requirements holds a password, and the file is part of the image:"
            " write `${NAME}` in its place, and set that variable where the project is resolved"
        )
    reader = _Reader(project=project, folder=folder or project, report=report)
    for number, line in _logical_lines(text):
        try:
            reader.take(line)
        except ValueError as problem:
            reader.problems.append(f"line {number}: {problem}")
    if reader.problems:
        raise ConfigError("the requirements cannot be used", details="\n".join(reader.problems))
    return Requirements(
        lines=tuple(reader.lines),
        hashes=tuple((name, tuple(values)) for name, values in sorted(reader.hashes.items())),
        require_hashes=reader.require_hashes,
        prereleases=reader.prereleases,
        trusted_hosts=tuple(reader.trusted_hosts),
        has_index=bool(_INDEX_OPTIONS & reader.options),
        has_default_index=bool({"-i", "--index-url"} & reader.options),
        has_extra_index="--extra-index-url" in reader.options,
        sources=tuple(reader.sources),
    )


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with continuations joined, comments and blank lines dropped; the number is that of the first line."""
    started = 0
    joined = ""
    lines = text.removeprefix("\ufeff").splitlines()
    for number, raw in enumerate(lines, start=1):
        line = raw.rstrip()
        is_comment = line.lstrip().startswith("#")
        started = started or number
        if line.endswith("\\") and not is_comment and number < len(lines):
            joined += line[:-1].strip() + " "
            continue
        whole = _COMMENT.sub("", joined + line.strip()).strip().removesuffix("\\").strip()
        if whole:
            yield started, whole
        started, joined = 0, ""


class _Reader:
    """Collects what the lines ask for; `take` raises `ValueError` with what is wrong with one."""

    def __init__(self, *, project: Path, folder: Path, report: Report) -> None:
        self._project = project
        self._folder = folder
        self._report = report
        self.lines: list[str] = []
        self.sources: list[SourceLine] = []
        self.hashes: dict[str, list[str]] = {}
        self.require_hashes = False
        self.prereleases = False
        self.trusted_hosts: list[str] = []
        self.options: set[str] = set()
        self.problems: list[str] = []

    def take(self, line: str) -> None:
        if line == "-e .":
            return
        if line.startswith("-"):
            for option in _each_option(line):
                self._option(option)
        elif _is_local_archive(line):
            self._artifact(line)
        else:
            self._requirement(line)

    def _option(self, line: str) -> None:
        match = _OPTION.match(line)
        name = match[1] or match[2] if match else line
        value = line[match.end() :].strip() if match else ""
        if name in _FILE_OPTIONS and not _is_remote(value):
            raise ValueError(f'local requirements option "{name}" is not supported: {line}')
        if name in {"-e", "--editable"}:
            if not _REMOTE_SOURCE.search(value):
                raise ValueError(f"editable requirements are not supported: {line}")
            self._requirement(value)
        elif name == "--require-hashes":
            self.require_hashes = True
        elif name == "--pre":
            self.prereleases = True
        elif name == "--trusted-host":
            self.trusted_hosts.append(value)
        elif name in _BUILD_OPTIONS:
            self._report.warn(f"`{line}` in the requirements is ignored: what has a wheel comes as a wheel")
        elif name in _FOR_UV:
            self.options.add(name)
            self.lines.append(f"{name} {value}".strip())
        elif name not in _DROPPED:
            raise ValueError(f"a requirements file has no such option: {line}")

    def _artifact(self, line: str) -> None:
        if re.search(r"\s--?[A-Za-z]", line):
            raise ValueError(f"local package artifact requirements do not support inline options or hashes: {line}")
        if ";" in line:
            raise ValueError(f"environment markers are not supported on local package artifact requirements: {line}")
        if line.endswith("]"):
            raise ValueError(f"extras are not supported on local package artifact requirements: {line}")
        path = self._folder / line
        if not path.exists():
            raise ValueError(f'local Python package artifact "{line}" not found')
        if not path.is_file():
            raise ValueError(f'local Python package artifact "{line}" must be a regular file')
        if not path.resolve().is_relative_to(self._project.resolve()):
            raise ValueError(f'local Python package artifact "{line}" must be inside the project directory')
        if path.suffix != ".whl":
            self.sources.append(SourceLine(text=line, kind="archive", place=str(path.resolve())))
            return
        uri = path.resolve().as_uri()
        # uv takes a `#` of a path for a fragment, however it is written, unless a name stands before the URL.
        self.lines.append(f"{path.name.partition('-')[0]} @ {uri}" if "%23" in uri else uri)

    def _requirement(self, line: str) -> None:
        text, options = _split_options(line)
        if re.search(r"(^|[\s@])file:", text):
            raise ValueError(f"local file URL requirements are not supported: {line}")
        name, at, target = text.partition("@")
        if at and _PROJECT.match(name) and "://" not in target.partition(";")[0]:
            raise ValueError(
                "local direct reference requirements (`name @ path`) are not supported; list the path directly"
                f" instead: {line}"
            )
        if text.startswith(("./", "../", "/", "~/")) or text in {".", ".."}:
            raise ValueError(f'local package requirement "{text}" is not a supported wheel or source archive')
        is_source = _REMOTE_SOURCE.search(text)
        source = _source(text, name=_name(text)) if is_source else None
        name = source.name if source else _name(text) or _name_of_wheel(text)
        if name in OWN:
            self._report.warn(
                f"'{text}' found in requirements — overriding with the SDK of this release. Remove it from requirements"
            )
            return
        found = [value.strip("\"'").lower() for value in _HASH.findall(options)]
        if source:
            if found and source.kind == "git":
                raise ValueError(f"a repository has no hash; name the commit instead, as in `@COMMIT`: {line}")
            self.sources.append(dataclasses.replace(source, hashes=tuple(found)))
        else:
            if found:
                self.hashes.setdefault(name, []).extend(found)
            self.lines.append(text)
        for option in _each_option(_HASH.sub("", options)):
            self._option(option)


def _source(text: str, *, name: str) -> SourceLine:
    """A repository or an archive at a URL, as PEP 508 or pip names it."""
    head, _, marker = _MARKER.sub("\n", text, count=1).partition("\n")
    head, marker = head.strip(), marker.strip()
    try:
        if marker:
            Marker(marker)
    except InvalidMarker as problem:
        raise ValueError(f"`{marker}` is no marker: {text}") from problem
    before, at, url = head.partition("@") if name else ("", "", head)
    url = url.strip() if at or not name else head
    url, _, fragment = url.partition("#")
    more = dict(part.partition("=")[::2] for part in fragment.split("&") if part)
    extras = re.search(r"\[[^]]*\]", before)
    if re.match(r"(hg|svn|bzr)\+", url):
        raise ValueError(f"of version control systems only git is known: {text}")
    return SourceLine(
        text=text,
        kind="git" if url.startswith("git+") else "archive",
        place=url.removeprefix("git+"),
        name=name or canonicalize_name(more.get("egg", "").partition("[")[0]),
        extras=extras[0] if extras else "",
        marker=marker,
        subdirectory=more.get("subdirectory", "").strip("/"),
        sha256=more.get("sha256", "").lower(),
    )


def _each_option(text: str) -> list[str]:
    return [option for option in re.split(r"\s+(?=--?[A-Za-z])", text.strip()) if option]


def _split_options(line: str) -> tuple[str, str]:
    match = re.search(r"\s--?[A-Za-z]", line)
    return (line[: match.start()].strip(), line[match.start() :].strip()) if match else (line, "")


def _name(text: str) -> str:
    try:
        return canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        return ""  # uv says what is wrong with it


def _name_of_wheel(text: str) -> str:
    match = re.match(r"https?://[^\s#?]*/([A-Za-z0-9._]+)-[^\s/#?]+\.whl(?=[\s#?;]|\Z)", text)
    return canonicalize_name(match[1]) if match else ""


def _is_local_archive(line: str) -> bool:
    head = re.split(r"\s--?[A-Za-z]|\s*;|\[", line, maxsplit=1)[0].strip()
    return head.lower().endswith(_ARCHIVES) and "://" not in head and "@" not in head and not head.startswith("file:")


def _is_remote(value: str) -> bool:
    return value.strip("\"'").startswith(("http://", "https://"))
