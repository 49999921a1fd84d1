"""update-ca-certificates(8) and openssl-rehash(1): the bundle, the links to it and their hashed names.  Pure."""

from __future__ import annotations

import base64
import hashlib
import re

from builder.errors import LayerError
from builder.layers.debian.setup import Setup, here_document
from builder.layers.root import Root

SOURCE = "/usr/share/ca-certificates"
TARGET = "etc/ssl/certs"
_PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.+?)-----END ", re.DOTALL)


def install_certificates(setup: Setup) -> None:
    """Trust every certificate that the package ships: `ca-certificates.conf`, the bundle, links by name and by hash."""
    root = setup.root
    root.mkdir("usr/local/share/ca-certificates")
    base = SOURCE.strip("/")
    names = sorted(
        path.removeprefix(f"{base}/") for path, node in root.walk(base) if node.type == "file" and path.endswith(".crt")
    )
    names.sort(key=lambda name: name.encode())
    header = here_document(setup.script, after="cat > /etc/ca-certificates.conf ")
    root.write("etc/ca-certificates.conf", header + "".join(f"{name}\n" for name in names))
    bundle = b""
    pems: dict[str, bytes] = {}
    for name in names:
        data = root.read(f"{SOURCE}/{name}")
        bundle += data if data.endswith(b"\n") else data + b"\n"
        stem = name.rpartition("/")[2].removesuffix(".crt").translate(str.maketrans(" (),", "_==_"))
        root.symlink(f"{TARGET}/{stem}.pem", f"{SOURCE}/{name}")
        pems[f"{stem}.pem"] = data
    rehash(pems, root=root)
    root.write(f"{TARGET}/ca-certificates.crt", bundle)


def rehash(pems: dict[str, bytes], *, root: Root) -> None:
    """Links `HASH.N` to the files of `/etc/ssl/certs`, in the order of their names; a certificate twice gets one."""
    seen: dict[str, list[bytes]] = {}
    for name in sorted(pems, key=lambda name: name.encode()):
        found = _PEM.findall(pems[name])
        if len(found) != 1:
            continue
        der = base64.b64decode(found[0])
        digest = subject_hash(der)
        fingerprint = hashlib.sha1(der, usedforsecurity=False).digest()
        known = seen.setdefault(digest, [])
        if fingerprint not in known:
            root.symlink(f"{TARGET}/{digest}.{len(known)}", name)
            known.append(fingerprint)


def subject_hash(der: bytes) -> str:
    """OpenSSL's `X509_NAME_hash` of a certificate's subject, eight hexadecimal digits.

    The first four bytes, as a little-endian number, of the SHA-1 of the name in canonical form (X509_NAME_hash(3)):
    the sets of the name without the sequence around them, each value that is text as UTF-8, in lower case (ASCII
    only), without spaces at the ends and with single spaces inside.
    """
    certificate = _children(der)[0]
    fields = _children(certificate[1])[0]
    parts = _children(fields[1])
    subject = parts[5] if parts[0][0] == 0xA0 else parts[4]
    canonical = b"".join(_canonical_set(value) for tag, value in _children(subject[1]) if tag == 0x31)
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


_TEXT = {
    0x0C: "utf-8",  # UTF8String
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}


def _canonical_set(data: bytes) -> bytes:
    items = []
    for _, attribute in _children(data):
        (oid_tag, oid), (tag, value) = _children(attribute)
        if tag in _TEXT:
            text = value.decode(_TEXT[tag])
            text = re.sub(r"[ \t\n\v\f\r]+", " ", text.strip(" \t\n\v\f\r"))
            tag, value = 0x0C, "".join(c.lower() if c.isascii() else c for c in text).encode("utf-8")
        items.append(_encode(0x30, _encode(oid_tag, oid) + _encode(tag, value)))
    return _encode(0x31, b"".join(sorted(items)))


def _children(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise LayerError("a certificate of `ca-certificates` is malformed")
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _encode(tag: int, value: bytes) -> bytes:
    if len(value) < 0x80:
        return bytes((tag, len(value))) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value
