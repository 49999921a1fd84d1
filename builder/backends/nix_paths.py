"""Where Nix puts content that is known by hash.  Pure; the rule is Nix's: `nix-store --add-fixed` says the same.

A path depends on a name and a hash alone, so what the store has and lacks can be asked before anything is evaluated.
"""

from __future__ import annotations

import hashlib

FOLDER = "/nix/store"
LAYER = "layer"
"""The name of every layer that is known by its digest, so that plans share it (`nix/layer.nix`)."""

_ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
_OTHER = dict.fromkeys(map(ord, "~%! @:,()[]"), "-")


def store_name(name: str) -> str:
    """`name` as a store path can have it (`nix/files.nix` does the same)."""
    return name.translate(_OTHER)


def flat_path(name: str, sha256: str, *, folder: str = FOLDER) -> str:
    """The path of a file with that content (hex) in the store at `folder`."""
    inner = hashlib.sha256(f"fixed:out:sha256:{sha256}:".encode()).hexdigest()
    outer = hashlib.sha256(f"output:out:sha256:{inner}:{folder}:{name}".encode()).digest()
    return f"{folder}/{_base32(_folded(outer))}-{name}"


def _folded(digest: bytes, size: int = 20) -> bytes:
    """A hash cut to `size` bytes: the rest is xored over the beginning."""
    result = bytearray(size)
    for i, byte in enumerate(digest):
        result[i % size] ^= byte
    return bytes(result)


def _base32(data: bytes) -> str:
    """Nix's base 32: its own alphabet, from the last bits to the first."""
    number = int.from_bytes(data, "little")
    count = (len(data) * 8 - 1) // 5 + 1
    return "".join(_ALPHABET[number >> 5 * i & 31] for i in reversed(range(count)))
