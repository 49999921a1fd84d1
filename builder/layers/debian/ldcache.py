"""ldconfig(8): the links to shared libraries and `/etc/ld.so.cache` in glibc's new format.  Pure.

The format is that of glibc's `dl-cache.h`: a header, one entry a library, a table of strings in which a string may lie
at the end of another, and an extension that names the generator.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from builder.errors import LayerError
from builder.frozen import frozen
from builder.layers.root import Root

_MAGIC = b"glibc-ld.so.cache1.1"
_EXTENSION_MAGIC = 0xEAA42174
_FLAGS = {62: 0x0303, 183: 0x0A03}
"""Of a library of each ELF machine (x86-64, AArch64): `FLAG_ELF_LIBC6` and the architecture's own."""


@frozen
class Library:
    """A shared library: its name for the loader, the path under which it is cached, and its flags."""

    name: str
    path: str
    flags: int


def update_cache(root: Root, *, version: str) -> None:
    """Write `/etc/ld.so.cache` for the folders of `/etc/ld.so.conf` and the standard ones.

    `version` is that of the package `libc-bin` (`2.36-9+deb12u14`), which the cache names.
    """
    libraries: list[Library] = []
    seen: set[str] = set()
    for folder in _folders(root):
        real = root.real(folder, follow=True)
        if real not in seen:
            seen.add(real)
            libraries += _libraries(root, folder)
    root.write("etc/ld.so.cache", cache(libraries, version=version))
    root.mkdir("var/cache/ldconfig", mode=0o700)


def cache(libraries: Iterable[Library], *, version: str) -> bytes:
    """The bytes of the cache; of libraries with the same name, the loader takes the first one given."""
    ordered = sorted(libraries, key=_order, reverse=True)
    offsets, strings = _strings([text for library in ordered for text in (library.name, library.path)])
    header = 48
    start = header + 24 * len(ordered)
    entries = b"".join(
        struct.pack("<iIIIQ", item.flags, start + offsets[item.name], start + offsets[item.path], 0, 0)
        for item in ordered
    )
    extension_at = -(-(start + len(strings)) // 4) * 4
    # The byte order (2: little-endian) stands after the two lengths.
    head = _MAGIC + struct.pack("<IIB3xI12x", len(ordered), len(strings), 2, extension_at)
    generator = f"ldconfig (Debian GLIBC {version}) stable release version {version.partition('-')[0]}".encode()
    extension = struct.pack("<II", _EXTENSION_MAGIC, 1)
    extension += struct.pack("<IIII", 0, 0, extension_at + 24, len(generator))
    body = head + entries + strings
    return body + b"\0" * (extension_at - len(body)) + extension + generator


def _folders(root: Root) -> list[str]:
    folders = list(_configured(root, "etc/ld.so.conf"))
    return [*folders, "/lib", "/usr/lib"]  # and the multiarch ones, which Debian configures as well


def _configured(root: Root, path: str) -> Iterable[str]:
    if not root.exists(path):
        return
    for line in root.read(path).decode("utf-8").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                folder, _, name = pattern.rpartition("/")
                shape = re.compile(re.escape(name).replace(r"\*", "[^/]*"))
                for found in root.names(folder):
                    if shape.fullmatch(found):
                        yield from _configured(root, f"{folder}/{found}")
        elif words:
            yield words[0].rstrip("/")


def _libraries(root: Root, folder: str) -> Iterable[Library]:
    files: dict[str, list[str]] = {}
    flags: dict[str, int] = {}
    for name in root.names(folder):
        if not (name.startswith(("lib", "ld-", "ld.so")) and ".so" in name) or name.endswith((".py", ".gdb")):
            continue
        node = root.node(f"{folder}/{name}", follow=True)
        if node is None or node.type != "file":
            continue
        found = _soname(root.read(f"{folder}/{name}"))
        if found is not None:
            is_link = root.node(f"{folder}/{name}") is not node
            key = _cached_name(name, soname=found[0], is_link=is_link)
            files.setdefault(key, []).append(name)
            flags[key] = found[1]
    for soname, names in files.items():
        if not root.exists(f"{folder}/{soname}"):
            root.symlink(f"{folder}/{soname}", max(names, key=_parts))
        yield Library(name=soname, path=f"{folder}/{soname}", flags=flags[soname])


def _cached_name(name: str, *, soname: str, is_link: bool) -> str:
    """The name under which a file is in the cache: its soname, or that of the link which ld(1) follows (`libz.so`)."""
    return name if is_link and name.endswith(".so") and soname.startswith(name) else soname or name


def _soname(data: bytes) -> tuple[str, int] | None:
    # DT_SONAME (empty where there is none) and flags of a 64-bit little-endian shared library, else nothing.
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    kind, machine = struct.unpack_from("<HH", data, 16)
    if kind != 3 or machine not in _FLAGS:
        return None
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    loads, dynamic = [], None
    for i in range(count):
        kind, _, at, address, _, length = struct.unpack_from("<IIQQQQ", data, offset + i * size)
        if kind == 1:
            loads.append((address, at, length))
        elif kind == 2:
            dynamic = (at, length)
    if dynamic is None:
        return None
    names, soname = 0, None
    for at in range(dynamic[0], dynamic[0] + dynamic[1], 16):
        tag, value = struct.unpack_from("<qQ", data, at)
        if tag == 0:
            break
        if tag == 5:
            names = next(
                (at + value - address for address, at, length in loads if address <= value < address + length), 0
            )
        elif tag == 14:
            soname = value
    if soname is None:
        return "", _FLAGS[machine]
    start = names + soname
    return data[start : data.index(b"\0", start)].decode("utf-8"), _FLAGS[machine]


_NUMBER_OR_TEXT = re.compile(r"\d+|\D")


def _order(library: Library) -> tuple[list[tuple[int, int]], int]:
    return _parts(library.name), library.flags


def _parts(name: str) -> list[tuple[int, int]]:
    # glibc's _dl_cache_libcmp: runs of digits compare as numbers, and as greater than any other character.
    return [(1, int(part)) if part.isdigit() else (0, ord(part)) for part in _NUMBER_OR_TEXT.findall(name)]


def _strings(texts: list[str]) -> tuple[dict[str, int], bytes]:
    # Longer strings first among those with a common end, so that a string may be the tail of the one before it.
    unique = sorted(set(texts), key=lambda text: text.encode()[::-1], reverse=True)
    offsets: dict[str, int] = {}
    table = bytearray()
    previous = ""
    for text in unique:
        if previous.endswith(text):
            offsets[text] = len(table) - 1 - len(text.encode())
        else:
            offsets[text] = len(table)
            table += text.encode() + b"\0"
            previous = text
    if any(not offsets.get(text, 0) < len(table) for text in texts):
        raise LayerError("the string table of `ld.so.cache` is inconsistent")
    return offsets, bytes(table)
