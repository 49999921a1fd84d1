"""The one tar writer: ustar headers, with PAX records only where ustar has no room (docs/layer-format.md).

Pure: turns members into headers and puts them in order; reads and writes nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from builder.errors import LayerError
from builder.layers.content import Content

MemberType: TypeAlias = Literal["file", "dir", "symlink", "hardlink", "fifo", "char", "block"]

BLOCK = 512
END = bytes(2 * BLOCK)
"""The end of an archive: two blocks of zeros, and no padding to a larger record."""

TYPE_FLAGS: dict[MemberType, bytes] = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}
NAME_MAX = 255
"""Longest path component in bytes that Linux file systems hold."""

PATH_MAX = 4095

_NO_NAMES = frozenset(("", ".", ".."))
_BLOCK = struct.Struct("100s 48s 8s c 100s 8s 64x 16s 155s 12x")
"""Name, numbers, checksum, type, link, magic, (no user and group names), device, prefix."""

_NO_DEVICE = b"0000000\0" * 2
_NO_CHECKSUM = b" " * 8


class Member(NamedTuple):
    """One entry of a layer.

    `path` is relative to the image's root, `/`-separated, without a leading or trailing slash.  `mode` holds
    permission bits only (setuid, setgid and sticky included).  `linkname` is the target of a symbolic link as it
    stands, or the path of another member for a hard link.  `content` is there for files, and only for them.
    `xattrs` are pairs of full name (`security.capability`) and value.
    """

    path: str
    type: MemberType = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    linkname: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    major: int = 0
    minor: int = 0
    content: Content | None = None

    @property
    def size(self) -> int:
        """Bytes of content; 0 for anything but a file."""
        return self.content.size if self.content is not None else 0


def sort_key(path: str) -> bytes:
    """Bytes that order paths: UTF-8 with every `/` read as 0x00, so that a directory is followed by what it holds."""
    return path.encode().replace(b"/", b"\0")


def is_plain(path: str) -> bool:
    """Whether a layer may surely hold `path`, as nearly every one; where not, `check_path` says whether and why."""
    return (
        path.isascii()
        and 0 < len(path) <= NAME_MAX
        and path[0] not in "/."
        and path[-1] != "/"
        and "/." not in path
        and "//" not in path
        and "\0" not in path
    )


def check_path(path: str, *, whiteouts: bool = True) -> str:
    """Return `path` if a layer may hold it, else raise `LayerError`.

    Refused are absolute paths, empty, `.` and `..` components, NUL, names that no Linux file system holds, text that
    is not UTF-8 and, unless `whiteouts`, names that would delete files of lower layers (image-spec, `.wh.`).
    """
    if is_plain(path):
        return path
    try:
        raw = path.encode()
    except UnicodeEncodeError as problem:
        raise LayerError(
            f"a layer cannot hold `{path!a}`: its name is not UTF-8", hint="rename the file, or leave it out"
        ) from problem
    if b"\0" in raw or len(raw) > PATH_MAX:
        raise LayerError(f"a layer cannot hold `{path[:200]!a}`: its name is longer than Linux allows, or holds NUL")
    parts = path.split("/")
    if not _NO_NAMES.isdisjoint(parts):
        raise LayerError(f"a layer cannot hold `{path}`: it must be relative, without empty, `.` or `..` parts")
    if len(raw) > NAME_MAX and max(map(len, raw.split(b"/"))) > NAME_MAX:
        raise LayerError(f"a layer cannot hold `{path[:200]}...`: a name in it is longer than {NAME_MAX} bytes")
    if not whiteouts and ".wh." in path and any(part.startswith(".wh.") for part in parts):
        raise LayerError(
            f"a layer cannot hold `{path}`: in an image a name that starts with `.wh.` deletes another file",
            hint="rename the file, or leave it out",
        )
    return path


def arrange(members: Iterable[Member], *, epoch: int) -> list[Member]:
    """Sort members, add missing parent directories (0755, root, `epoch`), and put the content of hard links first.

    Raises `LayerError` for a path that is there twice (equal directories are one), for something inside a path that
    is not a directory, and for a hard link to what is not a file of the same layer.
    """
    by_path: dict[str, Member] = {}
    for member in members:
        check_path(member.path)
        seen = by_path.get(member.path)
        if seen is not None and not (seen.type == "dir" and seen == member):
            raise LayerError(f"`/{member.path}` is there twice in one layer")
        by_path[member.path] = member
    for path in list(by_path):
        while "/" in path:
            path = path.rpartition("/")[0]
            parent = by_path.get(path)
            if parent is None:
                by_path[path] = Member(path=path, type="dir", mode=0o755, mtime=epoch)
                continue
            if parent.type != "dir":
                raise LayerError(f"`/{path}` is a {parent.type} and a directory in one layer")
            break
    _link_backwards(by_path)
    return sorted(by_path.values(), key=lambda member: sort_key(member.path))


def _link_backwards(by_path: dict[str, Member]) -> None:
    # A reader makes hard links as it goes, so the first name in order must be the one with the content.
    groups: dict[str, list[str]] = {}
    for member in by_path.values():
        if member.type == "hardlink":
            target = by_path.get(member.linkname)
            if target is None or target.type != "file":
                raise LayerError(f"`/{member.path}` is a hard link to `/{member.linkname}`, which is no file here")
            groups.setdefault(member.linkname, []).append(member.path)
    for target_path, links in groups.items():
        file = by_path[target_path]
        first, *rest = sorted([target_path, *links], key=sort_key)
        by_path[first] = file._replace(path=first)
        for path in rest:
            by_path[path] = file._replace(path=path, type="hardlink", linkname=first, content=None)


def header(member: Member) -> bytes:
    """The header blocks of `member`: one ustar header, after a PAX one where needed."""
    path, link = member.path.encode(), b""
    if member.type == "dir":
        path += b"/"
    elif member.type in ("symlink", "hardlink"):
        link = member.linkname.encode()
        if not link or b"\0" in link:
            raise LayerError(f"the link `/{member.path}` has no usable target")
    pax: dict[bytes, bytes] = {}
    if member.xattrs and member.type != "hardlink":
        pax = {b"SCHILY.xattr." + name.encode(): value for name, value in member.xattrs}
    prefix, name = _split(path)
    if not name:
        pax[b"path"], name = path, path[:100]
    if len(link) > 100 or not link.isascii():
        pax[b"linkpath"] = link
    uid = _fitting(b"uid", member.uid, digits=7, pax=pax)
    gid = _fitting(b"gid", member.gid, digits=7, pax=pax)
    size = _fitting(b"size", member.size, digits=11, pax=pax)
    mtime = _fitting(b"mtime", member.mtime, digits=11, pax=pax)
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (member.mode & 0o7777, uid, gid, size, mtime)
    device = b"%07o\0%07o\0" % (member.major, member.minor) if member.major or member.minor else _NO_DEVICE
    block = _block(name, numbers=numbers, flag=TYPE_FLAGS[member.type], link=link, device=device, prefix=prefix)
    return _pax(pax) + block if pax else block


def padding(size: int) -> bytes:
    """The zeros that fill `size` bytes up to a whole block."""
    return bytes(-size % BLOCK)


def _fitting(key: bytes, value: int, *, digits: int, pax: dict[bytes, bytes]) -> int:
    """`value` if it fits into so many octal digits, else 0 and a PAX record."""
    if 0 <= value < 1 << 3 * digits:
        return value
    pax[key] = b"%d" % value
    return 0


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Prefix and name of a ustar header; an empty name where there is no room for `path`, or it is not ASCII."""
    if not path.isascii():
        return b"", b""
    if len(path) <= 100:
        return b"", path
    slash = path[:156].rfind(b"/", 0, len(path) - 1)
    name = path[slash + 1 :]
    if slash <= 0 or len(name) > 100:
        return b"", b""
    return path[:slash], name


def _pax(records: dict[bytes, bytes]) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    numbers = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % len(body) + b"00000000000\0"
    block = _block(b"PaxHeader", numbers=numbers, flag=b"x", link=b"", device=_NO_DEVICE, prefix=b"")
    return block + body + padding(len(body))


def _block(name: bytes, *, numbers: bytes, flag: bytes, link: bytes, device: bytes, prefix: bytes) -> bytes:
    """A ustar header block with its checksum; what is longer than its field is cut off."""
    block = _BLOCK.pack(name, numbers, _NO_CHECKSUM, flag, link, b"ustar\00000", device, prefix)
    checksum = _sum(block[:256]) + _sum(block[256:])
    return block[:148] + b"%06o\0 " % checksum + block[156:]


def _sum(data: bytes) -> int:
    """The sum of at most 256 bytes: the low half of Adler-32 is one more (RFC 1950), and 20 times as fast as `sum`."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _record(key: bytes, value: bytes) -> bytes:
    # "LENGTH KEY=VALUE\n", where LENGTH counts itself.
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if length != rest + len(str(length)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
