"""The identities of layers: hashes of what they hold, the compression and the codec.  Stdlib only; no I/O."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias

from builder.frozen import frozen
from builder.plan.canonical import canonical_json, to_plain
from builder.plan.layers import BaseLayer, Layer

LAYER_FORMAT = 3
"""Version of the layer bytes (docs/design.md); part of every layer key, raised whenever any byte may change."""

Compression: TypeAlias = Literal["gzip", "plain", "zstd"]


@frozen
class Codec:
    """The compressor of layers that are not already deflate: name, exact version and level all shape the bytes."""

    name: str = "libdeflate"
    version: str = "0.9.0"
    level: int = 1


CODECS: dict[Compression, Codec] = {
    "gzip": Codec(),
    "plain": Codec(),
    "zstd": Codec(name="zstd", version="0.25.0", level=3),
}
"""The codec of each compression in this release; versions are those of the packages `deflate` and `zstandard`."""


def layer_key(layer: Layer, *, compression: Compression, codec: Codec) -> str:
    """The identity of a layer: a hash of its content, the compression and the codec.

    What lies below a pure layer does not count; an executed one names it (`below`).
    """
    spec = to_plain(layer)
    spec.pop("reason", None)
    drop_filenames(spec)
    data = {"codec": to_plain(codec), "compression": compression, "format": LAYER_FORMAT, "layer": spec}
    return hashlib.sha256(canonical_json(data)).hexdigest()


def chain_link(layer: Layer) -> str:
    """What a layer is to those executed above it: its content alone, however it is compressed."""
    if isinstance(layer, BaseLayer):
        return layer.diff_id
    return layer_key(layer, compression="plain", codec=CODECS["plain"])


def drop_filenames(spec: dict[str, Any]) -> None:
    """Take from a layer as data what does not shape it.

    That is a deb's path on a mirror, a wheel's file name (its tags are in WHEEL), and which machine compiles bytecode.
    """
    if spec["kind"] == "bytecode":
        del spec["compilers"], spec["of"]["reason"]
        drop_filenames(spec["of"])
    if spec["kind"] == "interpreter":
        del spec["filename"]
    for item in (*spec.get("debs", ()), *spec.get("wheels", ())):
        del item["filename"]
