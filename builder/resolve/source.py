"""The project's folder as a sorted list of paths with their hashes; `.dockerignore` honoured.

Reads the folder and nothing else.  What differs between checkouts of the same files (times, owners, umask) is left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from builder.errors import ConfigError, LayerError
from builder.frozen import frozen
from builder.plan import Entry
from builder.resolve import ignore

LARGE = 10 * 1024 * 1024
"""Bytes from which a file that is not code is a layer of its own."""

MAX_LARGE = 40
"""At most so many of them; the largest ones, the rest stay with the code."""

HashFile: TypeAlias = Callable[[Path, os.stat_result], str]

_OWN_FOLDER = ".cog"
_CODE_FOLDERS = frozenset({".cog", ".git", "__pycache__"})
# As Cog has it for `--separate-weights`: these change with the code, however large they are.
_CODE_SUFFIXES = frozenset({".py", ".ipynb", ".whl", ".log"})
_MEDIA_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp", "svg", "heic", "ico", "psd"),
        ("mp4", "m4v", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "wmv", "flv"),
        ("mp3", "wav", "ogg", "flac", "aac", "m4a", "wma", "aiff", "opus"),
    )
    for name in names
)


@frozen
class Source:
    """The files, directories and symbolic links of a project, sorted by the bytes of their path."""

    entries: tuple[Entry, ...]


def scan(root: Path, *, hash_file: HashFile, rules: ignore.Ignore | None = None) -> Source:
    """Read the folder `root`, but for what `rules` (default: its `.dockerignore`) leave out.

    `hash_file(path, stat)` gives a file's sha256.  Symbolic links are kept as they are, dangling ones too.
    `LayerError` for what no image can hold: a socket, a device, a name that is not UTF-8, a file that cannot be read.
    """
    rules = _rules(root) if rules is None else rules
    entries = sorted(_walk(root, folder="", rules=rules, parent=None, hash_file=hash_file), key=_path_bytes)
    return Source(entries=tuple(entries))


def is_part(root: Path, path: str) -> bool:
    """Whether what is, or will be, at `path` (relative, `/`-separated) is part of the project `root`."""
    rules, matched, out = _rules(root), None, False
    parts = path.split("/")
    for number in range(1, len(parts) + 1):
        out, matched = rules.match("/".join(parts[:number]), matched)
    return not out and parts[0] != _OWN_FOLDER


def split_large(
    source: Source, *, large: int = LARGE, most: int = MAX_LARGE
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """The entries that stay with the code, and the large files that become layers of their own."""
    candidates = [entry for entry in source.entries if entry.size >= large and not _is_code(entry.path)]
    candidates.sort(key=lambda entry: (-entry.size, _path_bytes(entry)))
    chosen = {entry.path for entry in candidates[:most]}
    rest = tuple(entry for entry in source.entries if entry.path not in chosen)
    return rest, tuple(entry for entry in source.entries if entry.path in chosen)


def _rules(root: Path) -> ignore.Ignore:
    path = root / ignore.FILE_NAME
    try:
        return ignore.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ignore.Ignore()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"could not read `{path}`: {problem}") from problem


def _walk(
    root: Path, *, folder: str, rules: ignore.Ignore, parent: ignore.Matched | None, hash_file: HashFile
) -> Iterator[Entry]:
    prefix = f"{folder}/" if folder else ""
    try:
        with os.scandir(root / folder) as listing:
            found = list(listing)
    except OSError as problem:
        raise _unreadable(root / folder, problem) from problem
    for item in found:
        path = prefix + item.name
        if path == _OWN_FOLDER:
            continue
        out, matched = rules.match(path, parent)
        if item.is_dir(follow_symlinks=False):
            if out and not rules.may_keep_below(path):
                continue
            below = list(_walk(root, folder=path, rules=rules, parent=matched, hash_file=hash_file))
            if below or not out:
                yield Entry(path=_checked(path), type="dir", mode=0o755)
            yield from below
        elif not out:
            yield _entry(item, path=_checked(path), hash_file=hash_file)


def _entry(item: os.DirEntry[str], *, path: str, hash_file: HashFile) -> Entry:
    try:
        if item.is_symlink():
            target = os.readlink(item.path)  # noqa: PTH115  (a Path would drop `./`)
            return Entry(path=path, type="symlink", mode=0o777, target=_checked(target))
        status = item.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            sha256 = hash_file(Path(item.path), status)
            return Entry(path=path, mode=mode, size=status.st_size, sha256=sha256)
    except OSError as problem:
        raise _unreadable(Path(item.path), problem) from problem
    raise LayerError(
        f"`{path}` is a socket, pipe or device, which an image cannot hold",
        hint=f"remove it, or name it in `{ignore.FILE_NAME}`",
    )


def _checked(path: str) -> str:
    """The name as UTF-8 has it, whatever encoding this host's locale has."""
    raw = os.fsencode(path)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise LayerError(
            f"the name {raw!r} is not UTF-8", hint=f"rename it, or name it in `{ignore.FILE_NAME}`"
        ) from problem


def _unreadable(path: Path, problem: OSError) -> LayerError:
    return LayerError(
        f"could not read `{path}`: {problem.strerror}",
        hint=f"change its permissions, or name it in `{ignore.FILE_NAME}`",
    )


def _is_code(path: str) -> bool:
    pure = PurePosixPath(path)
    return pure.suffix.lower() in _CODE_SUFFIXES | _MEDIA_SUFFIXES or not _CODE_FOLDERS.isdisjoint(pure.parts[:-1])


def _path_bytes(entry: Entry) -> bytes:
    return entry.path.encode()
