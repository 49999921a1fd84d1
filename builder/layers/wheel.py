"""Wheels as members of a layer: what `pip install` or `uv pip install` would put there, by splicing.

Sources: the binary distribution format (packaging.python.org), pip's and uv's behaviour where it is silent.
"""

from __future__ import annotations

import base64
import binascii
import csv
import dataclasses
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from builder.errors import LayerError
from builder.layers.archive import Entry, read_archive
from builder.layers.content import Content, Data, Deflated, FileSlice
from builder.layers.files import relative
from builder.layers.reader import Reader
from builder.layers.scripts import entry_points, is_python_script, launcher, rewrite_shebang, suited
from builder.layers.tar import Member, is_plain, sort_key

INSTALLER = b"cogsmith\n"
METADATA_MAX = 64 << 20
"""Most bytes of a RECORD, entry_points.txt or script that are read into memory."""

RECORD_HASH_MAX = 64 << 10
"""Files up to this size are compared with the hash in RECORD.

Every file has its CRC-32 checked, and the wheel as a whole is named by sha256; RECORD only finds wheels that were
edited by hand, which happens to source files.  Hashing torch's libraries for it would add a third to the time of
packing.  Neither pip nor uv compare anything.
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """Where the parts of a wheel go, as member paths; parts without a place are left out.

    `interpreter` is the absolute path that scripts start with, of Python `python` (`3.11`).
    """

    site: str
    scripts: str | None = None
    headers: str | None = None
    data: str | None = None
    interpreter: str = ""
    python: str = ""


class _Row(NamedTuple):
    """A line of RECORD: hash (`sha256=...`) and size may be empty."""

    hash: str = ""
    size: str = ""


_EMPTY = _Row()
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def venv_scheme(prefix: str, *, python: str) -> Scheme:
    """A virtual environment at `prefix` (absolute), of Python `python` (`3.11`)."""
    root = relative(prefix)
    return Scheme(
        site=f"{root}/lib/python{python}/site-packages",
        scripts=f"{root}/bin",
        headers=f"{root}/include/site/python{python}",
        data=root,
        interpreter=f"/{root}/bin/python",
        python=python,
    )


def wheels_members(spec: Mapping[str, Any], *, inputs: Mapping[str, Path]) -> list[Member]:
    """The members of a `WheelsLayer` in its JSON form."""
    scheme = venv_scheme(spec["prefix"], python=spec["python"])
    return install(spec["wheels"], scheme=scheme, epoch=spec["epoch"], inputs=inputs)


def install(
    wheels: Sequence[Mapping[str, Any]], *, scheme: Scheme, epoch: int, inputs: Mapping[str, Path]
) -> list[Member]:
    """All files of `wheels` (`builder.plan.Wheel` in JSON form), installed by `scheme`.

    Where two wheels have a file of the same path, that of the wheel whose name sorts last stays: pip lets the one
    installed last win, and uv whichever comes.
    """
    members: dict[str, Member] = {}
    for wheel in sorted(wheels, key=lambda wheel: (wheel["name"], wheel["sha256"])):
        path = inputs.get(wheel["sha256"])
        if path is None:
            raise LayerError(f"the packer was not given `{wheel['filename']}` (sha256 {wheel['sha256']})")
        members |= _install(wheel, path=path, scheme=scheme, epoch=epoch)
    return list(members.values())


def _install(wheel: Mapping[str, Any], *, path: Path, scheme: Scheme, epoch: int) -> dict[str, Member]:
    entries = {entry.path: entry for entry in read_archive(path)}
    label = wheel["filename"] or path.name
    with Reader() as reader:
        info = _dist_info(entries, wheel=wheel, label=label)
        _check_version(_read(entries[f"{info}/WHEEL"], reader=reader, label=label), label=label)
        rows = _read_record(entries, info=info, reader=reader, label=label)
        points_file = entries.get(f"{info}/entry_points.txt")
        points = entry_points(_read(points_file, reader=reader, label=label), label=label) if points_file else []
        points = suited(points, python=scheme.python)
        members: dict[str, Member] = {}
        record: dict[str, _Row] = {}
        launchers = {point.name for point in points}
        for entry in entries.values():
            place, kind = _place(entry.path, scheme=scheme, name=wheel["name"], label=label)
            if kind == "scripts" and entry.path.rpartition("/")[2] in launchers:
                continue  # an installer's own launcher takes its place, as with pip
            if place is None or entry.path in (f"{info}/RECORD", f"{info}/INSTALLER"):
                continue
            member, row = _member(
                entry, place=place, kind=kind, row=rows.get(entry.path), scheme=scheme, epoch=epoch, reader=reader
            )
            if place in members:
                raise LayerError(f"`{label}` installs `/{place}` twice")
            members[place] = member
            record[place] = row
    generated = {f"{scheme.site}/{info}/INSTALLER": (INSTALLER, 0o644)}
    if scheme.scripts is not None:
        for point in points:
            generated[f"{scheme.scripts}/{point.name}"] = (launcher(point, interpreter=scheme.interpreter), 0o755)
    for place, (data, mode) in generated.items():
        members[place] = Member(path=place, mode=mode, mtime=epoch, content=Data(data))
        record[place] = _row(data)
    place = f"{scheme.site}/{info}/RECORD"
    text = _write_record(record, own=place, site=scheme.site)
    members[place] = Member(path=place, mtime=epoch, content=Data(text))
    return members


def _member(
    entry: Entry, *, place: str, kind: str, row: _Row | None, scheme: Scheme, epoch: int, reader: Reader
) -> tuple[Member, _Row]:
    promised = _with_hash(entry, row)
    content: Content = promised
    mode = 0o755 if entry.mode & 0o111 or kind == "scripts" else 0o644
    mtime = min(entry.mtime, epoch)
    new_row = row or _EMPTY
    if kind == "scripts" and is_python_script(_start(entry, reader=reader)):
        data = rewrite_shebang(
            _read(entry._replace(content=promised), reader=reader, label=entry.path),
            interpreter=scheme.interpreter,
        )
        content, new_row = Data(data), _row(data)
    return Member(path=place, mode=mode, mtime=mtime, content=content), new_row


def _with_hash(entry: Entry, row: _Row | None) -> Deflated | FileSlice:
    """The entry's content, to be compared with RECORD where that is worth its time."""
    content = entry.content
    if row is None or entry.path.partition("/")[0].endswith(".dist-info"):
        return content  # torch 1.9.0 was published with another METADATA than its RECORD names, and is installed by all
    if row.size and row.size != str(content.size):
        raise LayerError(
            f"`{entry.path}` in `{content.path.name}` has {content.size} bytes, but RECORD says {row.size}",
            hint="the wheel was changed after it was built; build it again",
        )
    algorithm, _, digest = row.hash.partition("=")
    if algorithm != "sha256" or content.size > RECORD_HASH_MAX:
        return content
    try:
        wanted = binascii.a2b_base64(digest.encode("ascii").translate(_URL_SAFE) + b"=" * (-len(digest) % 4)).hex()
    except ValueError as problem:
        raise LayerError(f"the hash of `{entry.path}` in RECORD of `{content.path.name}` is malformed") from problem
    return content._replace(sha256=wanted)


def _place(path: str, *, scheme: Scheme, name: str, label: str) -> tuple[str | None, str]:
    """Where a file of the wheel goes (None: nowhere), and the part of the wheel that it belongs to."""
    if ".data/" not in path:
        return f"{scheme.site}/{path}", "site"
    top, _, rest = path.partition("/")
    if not top.endswith(".data") or not rest:
        return f"{scheme.site}/{path}", "site"
    kind, _, below = rest.partition("/")
    if kind not in ("purelib", "platlib", "scripts", "headers", "data") or not below:
        raise LayerError(f"`{label}` has `{path}`, and `{kind}` is not a place that wheels install to")
    if kind in ("purelib", "platlib"):
        return f"{scheme.site}/{below}", kind
    if kind == "headers":
        return (None if scheme.headers is None else f"{scheme.headers}/{name}/{below}"), kind
    if kind == "data":
        if below.startswith("lib64/"):
            below = f"lib/{below[6:]}"  # in a virtual environment `lib64` is a link to `lib`
        return (None if scheme.data is None else f"{scheme.data}/{below}"), kind
    return (None if scheme.scripts is None else f"{scheme.scripts}/{below}"), kind


def _dist_info(entries: Iterable[str], *, wheel: Mapping[str, Any], label: str) -> str:
    found = sorted({path.partition("/")[0] for path in entries if re.match(r"[^/]*\.dist-info/", path)})
    if len(found) != 1:
        raise LayerError(f"`{label}` has {len(found)} `.dist-info` directories, and a wheel has one")
    name = found[0].removesuffix(".dist-info").partition("-")[0]
    if re.sub(r"[-_.]+", "-", name).lower() != re.sub(r"[-_.]+", "-", wheel["name"]).lower():
        raise LayerError(f"`{label}` should hold `{wheel['name']}`, but holds `{name}`")
    for file in ("WHEEL", "RECORD"):
        if f"{found[0]}/{file}" not in entries:
            raise LayerError(f"`{label}` is not a wheel: it has no `{found[0]}/{file}`")
    return found[0]


def _check_version(data: bytes, *, label: str) -> None:
    match = re.search(rb"^Wheel-Version:[ \t]*(\d+)", data, re.MULTILINE | re.IGNORECASE)
    if match is None or int(match[1]) != 1:
        version = match[1].decode() if match else "unknown"
        raise LayerError(f"`{label}` is of wheel format {version}; this release installs format 1")


def _read_record(entries: Mapping[str, Entry], *, info: str, reader: Reader, label: str) -> dict[str, _Row]:
    try:
        text = _read(entries[f"{info}/RECORD"], reader=reader, label=label).decode()
        rows: dict[str, _Row] = {}
        for fields in csv.reader(io.StringIO(text, newline=""), strict=True):
            if len(fields) > 3:
                raise csv.Error(f"a line has {len(fields)} fields: {','.join(fields)}")
            if fields:
                path, digest, size = (*fields, "", "")[:3]
                if not is_plain(path):
                    path = "/".join(part for part in path.split("/") if part not in ("", "."))
                rows[path] = _Row(digest, size)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise LayerError(f"RECORD in `{label}` is malformed: {problem}") from problem
    return rows


def _write_record(rows: Mapping[str, _Row], *, own: str, site: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    places = sorted([*rows, own], key=sort_key)
    writer.writerows((_relative_to(place, site), *rows.get(place, _EMPTY)) for place in places)
    return out.getvalue().encode()


def _relative_to(place: str, site: str) -> str:
    """`place` as seen from the directory `site`, with `..` where it lies elsewhere."""
    if place.startswith(f"{site}/"):
        return place[len(site) + 1 :]
    here, there = site.split("/"), place.split("/")
    common = 0
    while common < min(len(here), len(there) - 1) and here[common] == there[common]:
        common += 1
    return "/".join([".."] * (len(here) - common) + there[common:])


def _row(data: bytes) -> _Row:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return _Row(hash=f"sha256={digest}", size=str(len(data)))


def _start(entry: Entry, *, reader: Reader) -> bytes:
    """At least the first few bytes of a file."""
    content = entry.content
    if isinstance(content, FileSlice):
        return reader.read(content.path, offset=content.offset, size=min(64, content.size))
    return next((data for _, data in reader.inflate(content, label=entry.path) if data), b"")


def _read(entry: Entry, *, reader: Reader, label: str) -> bytes:
    """All of a small file, verified."""
    content = entry.content
    if content.size > METADATA_MAX:
        raise LayerError(f"`{entry.path}` in `{label}` has {content.size} bytes, too many for what it is")
    if isinstance(content, FileSlice):
        return b"".join(reader.slices(content, label=entry.path))
    return b"".join(data for _, data in reader.inflate(content, label=entry.path))
