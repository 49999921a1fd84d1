"""Makes small Debian packages and signed archives of them, byte by byte, for tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pysequoia

COMPRESSORS = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress}


def tar(entries: Sequence[tuple[str, str, str]]) -> bytes:
    """A tar of (path, type, content or target); types are `file`, `exec`, `dir`, `symlink`, `hardlink`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, kind, text in entries:
            info = tarfile.TarInfo(path)
            info.mtime = 1000000000
            info.mode = 0o644 if kind == "file" else 0o755
            data = b""
            if kind in ("file", "exec"):
                data = text.encode()
                info.size = len(data)
            else:
                info.type = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}[kind]
                info.linkname = text
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ar(members: Sequence[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{1000000000:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data
        out += b"\n" * (len(data) % 2)
    return out


def deb(
    folder: Path,
    name: str,
    entries: Sequence[tuple[str, str, str]] = (),
    *,
    version: str = "1.0",
    fields: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    suffix: str = ".xz",
    architecture: str = "amd64",
) -> Path:
    """Write a package into `folder`."""
    known = {"Package": name, "Version": version, "Architecture": architecture, "Maintainer": "T <t@example.org>"}
    known |= {"Description": "a test", **(fields or {})}
    control = "".join(f"{key}: {value}\n" for key, value in known.items())
    files = [("./", "dir", ""), ("./control", "file", control)]
    files += [(f"./{key}", "exec", text) for key, text in (scripts or {}).items()]
    compress = COMPRESSORS[suffix]
    path = folder / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
    path.write_bytes(
        ar(
            [
                ("debian-binary", b"2.0\n"),
                (f"control.tar{suffix}", compress(tar(files))),
                (f"data.tar{suffix}", compress(tar([("./", "dir", ""), *entries]))),
            ]
        )
    )
    return path


def spec(paths: Sequence[Path], *, epoch: int = 1735689600) -> tuple[dict[str, object], dict[str, Path]]:
    """The plain form of a layer of packages, and its inputs."""
    debs, inputs = [], {}
    for path in paths:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        inputs[sha256] = path
        name, version, _ = path.name.split("_")
        debs.append({"package": name, "version": version, "sha256": sha256})
    return {"kind": "debian", "suite": "bookworm", "architecture": "amd64", "debs": debs, "epoch": epoch}, inputs


def paragraph(path: Path, pool: str, **fields: str) -> str:
    """The index entry of a package, its fields given by hand."""
    name, version, rest = path.name.split("_")
    data = path.read_bytes()
    known = {"Package": name, "Version": version.replace("%3a", ":"), "Architecture": rest.removesuffix(".deb")}
    known |= {"Filename": f"{pool}/{path.name}", "Size": str(len(data)), **fields}
    known["SHA256"] = hashlib.sha256(data).hexdigest()
    return "".join(f"{key}: {value}\n" for key, value in known.items()) + "\n"


def release(
    mirror: Path,
    suite: str,
    packages: str,
    *,
    key: pysequoia.Tsk,
    codename: str | None = None,
    extra: str = "",
    suffix: str = ".xz",
    by_hash: bool = False,
) -> None:
    """Write `dists/SUITE` of an archive: one index and a signed `InRelease`."""
    folder = mirror / "dists" / suite
    place = folder / "main" / "binary-amd64"
    place.mkdir(parents=True, exist_ok=True)
    data = COMPRESSORS[suffix](packages.encode())
    digest = hashlib.sha256(data).hexdigest()
    if by_hash:
        (place / "by-hash" / "SHA256").mkdir(parents=True)
        (place / "by-hash" / "SHA256" / digest).write_bytes(data)
    else:
        (place / f"Packages{suffix}").write_bytes(data)
    text = f"Origin: Test\nSuite: {suite}\nCodename: {codename or suite}\nArchitectures: amd64\n{extra}"
    text += "Acquire-By-Hash: yes\n" if by_hash else ""
    text += f"SHA256:\n {digest} {len(data)} main/binary-amd64/Packages{suffix}\n"
    signed = pysequoia.sign(key.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR)
    (folder / "InRelease").write_bytes(bytes(signed))
