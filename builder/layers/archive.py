"""A wheel's zip file, read without trust: what it holds and where, or a `LayerError` saying what is wrong with it.

The central directory is what counts, as for pip; the local headers must agree with it, because other readers follow
those.  Inflates nothing.  Source of the format: APPNOTE.TXT 6.3.10 (PKWARE).
"""

from __future__ import annotations

import calendar
import itertools
import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

from builder.errors import LayerError
from builder.layers.content import Deflated, FileSlice
from builder.layers.reader import Reader
from builder.layers.tar import check_path, is_plain

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_DRIVE = re.compile(r"[A-Za-z]:")

ENCRYPTED = 0x0001 | 0x0040 | 0x2000
PATCHED = 0x0020
DESCRIPTOR = 0x0008
UTF8 = 0x0800
SAME_FLAGS = ENCRYPTED | PATCHED | DESCRIPTOR | UTF8
STORED, DEFLATED = 0, 8
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF
DIRECTORY_MAX = 256 << 20
"""Most bytes of central directory that are read: some two million files."""

DOS_START = 315532800
"""1980-01-01T00:00:00Z, the time of a file whose own is not a date."""


class Entry(NamedTuple):
    """A file in a zip: normalised path, mode bits as the zip has them, time (seconds, read as UTC), and its content."""

    path: str
    mode: int
    mtime: int
    content: Deflated | FileSlice


class _Record(NamedTuple):
    """A line of the central directory."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    mtime: int
    crc32: int
    compressed_size: int
    size: int
    mode: int
    header: int
    zip64: bool


def read_archive(path: Path) -> list[Entry]:
    """The files of the zip at `path`, in the order of its central directory; directories are left out.

    Raises `LayerError` for a malformed or ambiguous archive, encrypted members, methods other than stored and
    deflate, overlapping members, and names that are absolute, leave the archive or collide after normalisation.
    """
    with Reader() as reader:
        entries: dict[str, Entry] = {}
        spans: list[tuple[int, int, str]] = []
        for record in _central(path, reader=reader):
            name = _normalise(record.name, path=path)
            start, end = _locate(record, path=path, reader=reader)
            spans.append((record.header, end, name))
            if record.name[-1] == "/":
                if record.size:
                    raise _bad(path, f"the directory `{record.name}` has content")
                continue
            if name in entries:
                raise _bad(path, f"`{name}` is there twice")
            entries[name] = Entry(name, record.mode, record.mtime, _content(record, path=path, offset=start))
    spans.sort()
    for (_, end, name), (start, _, other) in itertools.pairwise(spans):
        if start < end:
            raise _bad(path, f"`{name}` and `{other}` overlap")
    return list(entries.values())


def _content(record: _Record, *, path: Path, offset: int) -> Deflated | FileSlice:
    if record.method == STORED:
        if record.compressed_size != record.size:
            raise _bad(path, f"`{record.name}` is stored, but has two sizes")
        return FileSlice(path=path, offset=offset, size=record.size, crc32=record.crc32)
    return Deflated(
        path=path, offset=offset, compressed_size=record.compressed_size, size=record.size, crc32=record.crc32
    )


def _central(path: Path, *, reader: Reader) -> list[_Record]:
    try:
        length = path.stat().st_size
    except OSError as problem:
        raise LayerError(f"could not read `{path}`: {problem.strerror}") from problem
    count, size, start = _directory(path, length=length, reader=reader)
    data = reader.read(path, offset=start, size=size)
    records: list[_Record] = []
    times: dict[tuple[int, int], int] = {}
    position = 0
    while position < size:
        if size - position < _CENTRAL.size or data[position : position + 4] != b"PK\x01\x02":
            raise _bad(path, "its central directory is malformed")
        record, position = _record(data, position, path=path, times=times)
        records.append(record)
    if position != size or len(records) != count:
        raise _bad(path, f"its central directory holds {len(records)} entries, not the {count} it claims")
    for record in records:
        if record.header + _LOCAL.size + record.compressed_size > start:
            raise _bad(path, f"`{record.name}` reaches into the central directory")
    return records


def _directory(path: Path, *, length: int, reader: Reader) -> tuple[int, int, int]:
    """Number of entries, size and offset of the central directory."""
    tail_size = min(length, _END.size + FULL16 + _LOCATOR64.size)
    tail = reader.read(path, offset=length - tail_size, size=tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _bad(path, "it is not a zip file, or not complete")
    _, disk, disk_start, here, count, size, start, comment = _END.unpack_from(tail, at)
    if len(tail) - at != _END.size + comment:
        raise _bad(path, "bytes follow its end")
    if disk or disk_start or here != count:
        raise _bad(path, "it is one part of several")
    end = length - len(tail) + at
    saturated = FULL16 in (count,) or FULL32 in (size, start)
    locator = tail[at - _LOCATOR64.size : at] if at >= _LOCATOR64.size else b""
    if locator.startswith(b"PK\x06\x07"):
        _, disk, end64, disks = _LOCATOR64.unpack(locator)
        if disk or disks > 1 or end64 + _END64.size > end - _LOCATOR64.size:
            raise _bad(path, "its zip64 locator is malformed")
        block = _END64.unpack(reader.read(path, offset=end64, size=_END64.size))
        signature, block_size, _, _, disk, disk_start, here, count64, size64, start64 = block
        if signature != b"PK\x06\x06" or end64 + 12 + block_size != end - _LOCATOR64.size:
            raise _bad(path, "its zip64 end record is malformed")
        if disk or disk_start or here != count64:
            raise _bad(path, "it is one part of several")
        if any(
            old not in (new, full)
            for old, new, full in ((count, count64, FULL16), (size, size64, FULL32), (start, start64, FULL32))
        ):
            raise _bad(path, "its two end records differ")
        count, size, start, end = count64, size64, start64, end64
    elif saturated:
        raise _bad(path, "its zip64 end record is missing")
    if start + size != end:
        raise _bad(path, "its central directory is not where it should be")
    if size > DIRECTORY_MAX:
        raise _bad(path, "its central directory is too large")
    return count, size, start


def _record(data: bytes, position: int, *, path: Path, times: dict[tuple[int, int], int]) -> tuple[_Record, int]:
    """The central directory's record at `position`, and where the next one starts; `times` remembers dates."""
    fields = _CENTRAL.unpack_from(data, position)
    _, _, _, flags, method, time, date, crc, compressed, size, n, e, c, disk, _, external, header = fields
    name_at = position + _CENTRAL.size
    extra_at = name_at + n
    position = extra_at + e + c
    if position > len(data):
        raise _bad(path, "its central directory is malformed")
    raw_name = data[name_at:extra_at]
    try:
        name = raw_name.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError as problem:
        raise _bad(path, f"the name {raw_name!r} is not UTF-8") from problem
    if disk not in (0, FULL16):
        raise _bad(path, "it is one part of several")
    zip64 = _extra(data[extra_at : extra_at + e], path=path).get(0x0001) if e else None
    if zip64 is not None:
        values = [zip64[i : i + 8] for i in range(0, len(zip64) - 7, 8)]
        wide = [size == FULL32, compressed == FULL32, header == FULL32]
        if len(values) < sum(wide):
            raise _bad(path, f"the zip64 sizes of `{name}` are incomplete")
        queue = iter(int.from_bytes(value, "little") for value in values)
        size = next(queue) if wide[0] else size
        compressed = next(queue) if wide[1] else compressed
        header = next(queue) if wide[2] else header
    elif FULL32 in (size, compressed, header):
        raise _bad(path, f"the zip64 sizes of `{name}` are missing")
    if flags & ENCRYPTED:
        raise _bad(path, f"`{name}` is encrypted")
    if flags & PATCHED or method not in (STORED, DEFLATED):
        raise _bad(path, f"`{name}` uses compression method {method}; wheels use stored and deflate only")
    mtime = times.get((date, time))
    if mtime is None:
        mtime = times[date, time] = _dos_time(date, time)
    record = _Record(
        raw_name, name, flags, method, mtime, crc, compressed, size, external >> 16, header, zip64 is not None
    )
    return record, position


def _locate(record: _Record, *, path: Path, reader: Reader) -> tuple[int, int]:
    """Where the content of `record` starts and where all of it ends; its local header must agree with the record."""
    named = len(record.raw_name)
    head = reader.near(path, offset=record.header, size=_LOCAL.size + named)
    signature, _, flags, method, _, _, crc, compressed, size, n, e = _LOCAL.unpack_from(head)
    if signature != b"PK\x03\x04":
        raise _bad(path, f"`{record.name}` has no local header")
    same_flags = (flags ^ record.flags) & SAME_FLAGS == 0
    if not head.endswith(record.raw_name) or n != named or method != record.method or not same_flags:
        raise _bad(path, f"the two headers of `{record.name}` differ")
    start = record.header + _LOCAL.size + n + e
    wide = False
    if FULL32 in (compressed, size):
        extra = reader.read(path, offset=record.header + _LOCAL.size + n, size=e)
        zip64 = _extra(extra, path=path).get(0x0001, b"")
        if len(zip64) < 16:
            raise _bad(path, f"the zip64 sizes of `{record.name}` are missing")
        size, compressed = struct.unpack_from("<2Q", zip64)
        wide = True
    expected = (record.crc32, record.compressed_size, record.size)
    end = start + record.compressed_size
    if record.flags & DESCRIPTOR:
        if (crc, compressed, size) not in (expected, (0, 0, 0)):
            raise _bad(path, f"the two headers of `{record.name}` differ")
        return start, _descriptor(record, path=path, reader=reader, at=end, wide=wide or record.zip64)
    if (crc, compressed, size) != expected:
        raise _bad(path, f"the two headers of `{record.name}` differ")
    return start, end


def _descriptor(record: _Record, *, path: Path, reader: Reader, at: int, wide: bool) -> int:
    """Where the data descriptor at `at` ends; it must agree with the record.  Its signature is optional."""
    for layout in ("<LQQ", "<LLL") if wide else ("<LLL", "<LQQ"):
        expected = (
            struct.pack(layout, record.crc32, record.compressed_size, record.size)
            if (layout == "<LQQ" or max(record.compressed_size, record.size) <= FULL32)
            else b""
        )
        for whole in (b"PK\x07\x08" + expected, expected):
            if expected and reader.read(path, offset=at, size=len(whole)) == whole:
                return at + len(whole)
    raise _bad(path, f"the data descriptor of `{record.name}` does not agree with its header")


def _extra(data: bytes, *, path: Path) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    position = 0
    while position + 4 <= len(data):
        key, size = struct.unpack_from("<HH", data, position)
        position += 4 + size
        if position > len(data):
            raise _bad(path, "an extra field is malformed")
        if key == 0x0001 and key in fields:
            raise _bad(path, "a zip64 extra field is there twice")
        fields[key] = data[position - size : position]
    return fields


def _normalise(name: str, *, path: Path) -> str:
    """The name without `.` and empty parts; hostile names are refused."""
    if "\\" in name or name.startswith("/") or "\0" in name or _DRIVE.match(name):
        raise _bad(path, f"the name `{name!a}` is not a relative path")
    if is_plain(name):
        return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise _bad(path, f"the name `{name!a}` leaves the archive")
    return check_path("/".join(parts), whiteouts=False)


def _dos_time(date: int, time: int) -> int:
    year, month, day = 1980 + (date >> 9), date >> 5 & 15, date & 31
    hour, minute, second = time >> 11, time >> 5 & 63, (time & 31) * 2
    if not (1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        return DOS_START
    if hour > 23 or minute > 59 or second > 59:
        return DOS_START
    return calendar.timegm((year, month, day, hour, minute, second))


def _bad(path: Path, what: str) -> LayerError:
    return LayerError(
        f"`{os.fspath(path.name)}` is damaged or hostile: {what}",
        hint="get the wheel from elsewhere, or build it again",
    )
