"""Small wheels for tests: honest ones as a build tool writes them, and zips of which every field can lie."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.codec import codec_for
from builder.layers.pack import Packed, pack
from builder.plan import CODECS, Compression

EPOCH = 1735689600


def record_row(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    if "," in path or '"' in path:
        path = '"' + path.replace('"', '""') + '"'
    return f"{path},sha256={digest},{len(data)}"


def with_metadata(
    files: Mapping[str, bytes], *, name: str = "demo", entry_points: str = "", missing: Sequence[str] = ()
) -> dict[str, bytes]:
    """The files of a wheel with its `.dist-info`, RECORD last; `missing` paths are not in RECORD."""
    info = f"{name}-1.0.dist-info"
    all_files = dict(files)
    all_files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    all_files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if entry_points:
        all_files[f"{info}/entry_points.txt"] = entry_points.encode()
    rows = [record_row(path, data) for path, data in all_files.items() if path not in missing]
    all_files.setdefault(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]).encode())
    return all_files


def write_wheel(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    name: str = "demo",
    entry_points: str = "",
    missing: Sequence[str] = (),
    modes: Mapping[str, int] | None = None,
    stored: Sequence[str] = (),
    date: tuple[int, int, int, int, int, int] = (2024, 2, 29, 13, 14, 16),
) -> Path:
    """A wheel as the standard library writes it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in with_metadata(files, name=name, entry_points=entry_points, missing=missing).items():
            info = zipfile.ZipInfo(file, date)
            info.compress_type = zipfile.ZIP_STORED if file in stored else zipfile.ZIP_DEFLATED
            info.external_attr = (0o100000 | (modes or {}).get(file, 0o644)) << 16
            archive.writestr(info, data)
    return path


@dataclasses.dataclass(kw_only=True)
class Part:
    """A member of a zip in which everything can be set; what is None follows from `data`."""

    name: bytes
    data: bytes = b""
    raw: bytes | None = None
    method: int = 8
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    compressed: int | None = None
    extra: bytes = b""
    central_extra: bytes = b""
    descriptor: bytes = b""
    local: dict[str, Any] = dataclasses.field(default_factory=dict)
    offset: int | None = None
    mode: int = 0o100644
    date: int = (44 << 9) | (2 << 5) | 29

    def field(self, key: str) -> Any:
        value = getattr(self, key)
        if value is not None:
            return value
        raw = self.body
        return {"crc": zlib.crc32(self.data), "size": len(self.data), "compressed": len(raw), "raw": raw}[key]

    @property
    def body(self) -> bytes:
        return self.raw if self.raw is not None else deflate(self.data) if self.method == 8 else self.data


def deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def write_zip(parts: Iterable[Part], *, comment: bytes = b"", zip64: bool = False, after: bytes = b"") -> bytes:
    """The bytes of a zip of exactly these parts."""
    out = io.BytesIO()
    central = b""
    count = 0
    for part in parts:
        offset = out.tell()
        values = {
            key: part.field(key) for key in ("name", "method", "flags", "crc", "size", "compressed", "extra", "date")
        }
        near = values | part.local
        numbers = (near["crc"], near["compressed"], near["size"], len(near["name"]), len(near["extra"]))
        out.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, near["flags"], near["method"], 0, near["date"], *numbers))
        out.write(near["name"] + near["extra"] + part.body + part.descriptor)
        far = values | {"extra": part.central_extra}
        numbers = (far["crc"], far["compressed"], far["size"], len(far["name"]), len(far["extra"]), 0, 0, 0)
        head = (b"PK\1\2", 0x314, 20, far["flags"], far["method"], 0, far["date"])
        where = offset if part.offset is None else part.offset
        central += struct.pack("<4s6H3L5H2L", *head, *numbers, part.mode << 16, where) + far["name"] + far["extra"]
        count += 1
    start = out.tell()
    out.write(central)
    if zip64:
        at = out.tell()
        out.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(central), start))
        out.write(struct.pack("<4sLQL", b"PK\6\7", 0, at, 1))
        out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, len(comment)))
    else:
        out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(central), start, len(comment)))
    return out.getvalue() + comment + after


def honest_parts(files: Mapping[str, bytes] | None = None, *, missing: Sequence[str] = ()) -> list[Part]:
    """The parts of a wheel that is all right; `missing` paths are not in RECORD."""
    files = {"demo/__init__.py": b"x = 1\n" * 400} if files is None else files
    return [Part(name=path.encode(), data=data) for path, data in with_metadata(files, missing=missing).items()]


def wheels_spec(*wheels: Path, name: str = "demo", names: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Path]]:
    """A `WheelsLayer` of these wheels in its JSON form, and the inputs it needs."""
    hashes = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    spec = {
        "kind": "wheels",
        "prefix": "/opt/venv",
        "python": "3.11",
        "epoch": EPOCH,
        "reason": "",
        "wheels": [
            {"name": own, "version": "1.0", "filename": wheel.name, "size": wheel.stat().st_size, "sha256": sha256}
            for own, wheel, sha256 in zip(names or [name] * len(wheels), wheels, hashes, strict=True)
        ],
    }
    return spec, dict(zip(hashes, wheels, strict=True))


def packed(
    spec: Mapping[str, Any], inputs: Mapping[str, Path], *, compression: Compression = "gzip", threads: int = 1
) -> tuple[Packed, bytes]:
    """A layer by the real packer and the real codec, and its bytes."""
    out = io.BytesIO()
    codec = codec_for(CODECS[compression], compression)
    result = pack(spec, inputs=inputs, out=out, codec=codec, compression=compression, threads=threads)
    return result, out.getvalue()
